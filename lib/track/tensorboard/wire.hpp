// Writes messages in the wire format of Protocol Buffers: a key of field number and kind before every value.
#pragma once
#include <bit>
#include <cstdint>
#include <string>
#include <string_view>

namespace tenon::track::tensorboard {

/// A message in the making; fields come in the order of the calls. Zero and empty values are written too: a field that is
/// there may mean something else than one that is not.
class Message {
 public:
  /// int64, int32, bool and enum fields.
  Message& integer(int field, std::int64_t value) {
    key(field, 0);
    varint(static_cast<std::uint64_t>(value));
    return *this;
  }
  Message& float64(int field, double value) {
    key(field, 1);
    fixed(std::bit_cast<std::uint64_t>(value));
    return *this;
  }
  /// A repeated float field with one value, packed as proto3 does.
  Message& packed_float(int field, float value) {
    key(field, 2);
    varint(sizeof value);
    fixed(std::bit_cast<std::uint32_t>(value));
    return *this;
  }
  /// string and bytes fields. A string must be UTF-8.
  Message& text(int field, std::string_view bytes) {
    key(field, 2);
    varint(bytes.size());
    bytes_.append(bytes);
    return *this;
  }
  Message& message(int field, const Message& inner) { return text(field, inner.bytes_); }

  [[nodiscard]] const std::string& bytes() const noexcept { return bytes_; }

 private:
  void key(int field, unsigned kind) { varint(static_cast<std::uint64_t>(field) << 3 | kind); }
  void varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_.push_back(static_cast<char>(value | 0x80));
    bytes_.push_back(static_cast<char>(value));
  }
  template <class Word>
  void fixed(Word value) {
    for (unsigned shift = 0; shift < 8 * sizeof value; shift += 8) bytes_.push_back(static_cast<char>(value >> shift));
  }

  std::string bytes_;
};

}  // namespace tenon::track::tensorboard
