// Writing: lays the tensors out without holes, wider element types first, describes them in the header together with
// the checksums that guard them, and hands header and tensors to replace_file.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <set>

#include "lib/io/atomic_file.hpp"
#include "lib/io/crc32c.hpp"
#include "lib/io/safetensors.hpp"
#include "lib/io/sha256.hpp"
#include "tenon/error.hpp"

namespace tenon {
namespace {

using namespace safetensors;
constexpr std::size_t payload_alignment = 64;

using Item = std::pair<std::string, Array>;

std::span<const std::byte> bytes_of(const Array& array) { return {array.bytes(), array.spec().bytes()}; }

void check(const TensorFile& file) {
  if (file.tensors.size() > max_tensors)
    throw UsageError(fmt::format("[save] expected at most {} tensors, found {}", max_tensors, file.tensors.size()));
  std::set<std::string> names;
  for (const auto& [name, array] : file.tensors) {
    if (!valid_name(name))
      throw UsageError(fmt::format("[save] a tensor's name is at most {} bytes of A-Z a-z 0-9 . _ / -, found '{}'",
                                   max_name_bytes, shown(name)));
    if (!names.insert(name).second)
      throw UsageError(fmt::format("[save] expected every name once, found '{}' again", name));
    if (array.empty()) throw UsageError(fmt::format("[save] tensor '{}' has no storage", name));
  }
  for (const auto& [key, value] : file.metadata)
    if (key == version_key || key == header_crc_key || key == digest_key || key.starts_with(crc_prefix))
      throw UsageError(fmt::format(
          "[save] the metadata entry '{}' is written by the library itself: choose another name", shown(key)));
}

std::string header_of(const std::vector<const Item*>& items, std::map<std::string, std::string> metadata) {
  Sha256 digest;
  std::string tensors;
  std::uint64_t offset = 0;
  for (const Item* item : items) {
    const auto& [name, array] = *item;
    const auto bytes = bytes_of(array);
    metadata[crc_prefix + name] = fmt::format("{:08x}", crc32c(bytes));
    digest.update(bytes);
    tensors +=
        fmt::format(",\"{}\":{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}", name,
                    type_name(array.dtype()), fmt::join(array.shape().extents(), ","), offset, offset + bytes.size());
    offset += bytes.size();
  }
  metadata[format_key] = format_value;
  metadata[version_key] = version_value;
  metadata[digest_key] = digest.hex();
  metadata[header_crc_key] = zero_digits;

  std::string described;
  try {
    described = nlohmann::json(metadata).dump();
  } catch (const nlohmann::json::exception&) {
    throw UsageError("[save] expected metadata in UTF-8, found other bytes");
  }
  std::string text = "{\"__metadata__\":" + described + tensors + "}";
  text.resize((8 + text.size() + payload_alignment - 1) / payload_alignment * payload_alignment - 8, ' ');
  if (text.size() > max_header_bytes)
    throw UsageError(
        fmt::format("[save] expected names and metadata of at most {} bytes, found {}", max_header_bytes, text.size()));

  const std::uint64_t length = text.size();
  std::string header(reinterpret_cast<const char*>(&length), sizeof length);
  header += text;
  header.replace(header.find(header_crc_start) + header_crc_start.size(), zero_digits.size(), header_crc(header));
  return header;
}

}  // namespace

void write_safetensors(const std::string& path, const TensorFile& file) {
  check(file);
  std::vector<const Item*> items;
  for (const Item& item : file.tensors) items.push_back(&item);
  std::stable_sort(items.begin(), items.end(), [](const Item* a, const Item* b) {
    return size_of(a->second.dtype()) > size_of(b->second.dtype());
  });
  const std::string header = header_of(items, file.metadata);
  std::vector<std::span<const std::byte>> pieces{std::as_bytes(std::span(header))};
  for (const Item* item : items) pieces.push_back(bytes_of(item->second));
  replace_file(path, pieces);
}

}  // namespace tenon
