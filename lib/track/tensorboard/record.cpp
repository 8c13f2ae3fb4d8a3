// Framing of an event file's records.
#include "lib/track/tensorboard/record.hpp"

#include <bit>

#include "lib/io/crc32c.hpp"

namespace tenon::track::tensorboard {
namespace {

template <class Word>
void add_word(std::string& to, Word value) {
  for (unsigned shift = 0; shift < 8 * sizeof value; shift += 8) to.push_back(static_cast<char>(value >> shift));
}

}  // namespace

std::uint32_t masked_crc(std::string_view bytes) noexcept { return std::rotr(crc32c(bytes), 15) + 0xa282ead8u; }

void add_record(std::string& to, std::string_view data) {
  const std::size_t begin = to.size();
  add_word(to, std::uint64_t{data.size()});
  add_word(to, masked_crc(std::string_view(to).substr(begin)));
  to += data;
  add_word(to, masked_crc(data));
}

}  // namespace tenon::track::tensorboard
