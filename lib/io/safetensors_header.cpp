// The header's JSON, event by event: the grammar that we accept is written out as states, so depth and types are
// bounded by it, and every refusal names the byte at which it arose.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <optional>
#include <set>

#include "lib/io/crc32c.hpp"
#include "lib/io/safetensors.hpp"
#include "tenon/error.hpp"

namespace tenon::safetensors {
namespace {

/// Input iterator that tells how far the parser has come.
struct Cursor {
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;
  const char* at = nullptr;
  const char** furthest = nullptr;
  reference operator*() const { return *at; }
  Cursor& operator++() {
    *furthest = ++at;
    return *this;
  }
  Cursor operator++(int) {
    Cursor before = *this;
    ++*this;
    return before;
  }
  friend bool operator==(const Cursor& a, const Cursor& b) { return a.at == b.at; }
};

std::optional<DType> type_named(const std::string& name) {
  for (const DType d : {DType::f32, DType::f64, DType::u8, DType::i32})
    if (name == type_name(d)) return d;
  return {};
}

class HeaderEvents {
 public:
  using json = nlohmann::json;
  HeaderEvents(std::string_view text, std::string name)
      : begin_(text.data()), furthest_(text.data()), name_(std::move(name)) {}

  const char** furthest() { return &furthest_; }
  Header take() { return std::move(header_); }

  bool null() { unexpected("null"); }
  bool boolean(bool) { unexpected("a boolean"); }
  bool number_integer(std::int64_t) { unexpected("a negative number"); }
  bool number_float(double, const std::string&) { unexpected("a number that is not a plain integer"); }
  bool binary(json::binary_t&) { unexpected("binary data"); }
  bool number_unsigned(std::uint64_t value) {
    if (at_ != At::shape && at_ != At::offsets) unexpected("a number");
    if (value > max_integer) refuse(fmt::format("integers below 2^53, found {}", value));
    std::vector<std::uint64_t>& list = at_ == At::shape ? shape_ : offsets_;
    const std::size_t most = at_ == At::shape ? std::size_t{Shape::max_rank} : 2;
    if (list.size() == most)
      refuse(fmt::format("at most {} {}, found more", most, at_ == At::shape ? "extents" : "data_offsets"));
    list.push_back(value);
    return true;
  }

  bool string(std::string& text) {
    if (at_ == At::metadata) {
      header_.metadata.emplace(key_, text);
    } else if (at_ == At::tensor && key_ == "dtype") {
      type_ = type_named(text);
      if (!type_) refuse(fmt::format("one of the supported dtypes F32, F64, U8 and I32, found {}", shown(text)));
    } else {
      unexpected("a string");
    }
    return true;
  }

  bool key(std::string& text) {
    if (!keys_[at_ == At::top ? 0 : 1].insert(text).second)
      refuse(fmt::format("no key twice, found '{}' again", shown(text)));
    if (at_ == At::top) {
      tensor_.clear();
      if (text != "__metadata__") {
        if (!valid_name(text))
          refuse(fmt::format("a name of at most {} bytes of A-Z a-z 0-9 . _ / -, found '{}'", max_name_bytes,
                             shown(text)));
        tensor_ = text;
      }
    } else if (at_ == At::tensor && text != "dtype" && text != "shape" && text != "data_offsets") {
      refuse(fmt::format("the fields dtype, shape and data_offsets, found '{}'", shown(text)));
    }
    key_ = text;
    return true;
  }

  bool start_object(std::size_t) {
    if (at_ == At::file) {
      at_ = At::top;
    } else if (at_ == At::top) {
      at_ = key_ == "__metadata__" ? At::metadata : At::tensor;
      keys_[1].clear();
      type_.reset();
      shape_.clear();
      offsets_.clear();
    } else {
      unexpected("an object");
    }
    return true;
  }
  bool end_object() {
    if (at_ == At::tensor) finish_tensor();
    at_ = at_ == At::top ? At::end : At::top;
    return true;
  }
  bool start_array(std::size_t) {
    if (at_ != At::tensor || key_ == "dtype") unexpected("an array");
    at_ = key_ == "shape" ? At::shape : At::offsets;
    return true;
  }
  bool end_array() {
    at_ = At::tensor;
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const json::exception&) {
    refuse("valid JSON in UTF-8, found something else");
  }

  [[noreturn]] void refuse(const std::string& expected_and_found) const {
    const std::string tensor = tensor_.empty() ? "" : fmt::format(" of tensor '{}'", tensor_);
    throw CheckpointError(fmt::format("[safetensors] {}: byte {}{}: expected {}", name_, 8 + (furthest_ - begin_),
                                      tensor, expected_and_found));
  }

 private:
  enum class At { file, top, metadata, tensor, shape, offsets, end };

  [[noreturn]] void unexpected(const char* what) const {
    switch (at_) {
      case At::file:
      case At::end:
        refuse(fmt::format("an object, found {}", what));
      case At::top:
        refuse(fmt::format("an object for '{}', found {}", key_, what));
      case At::metadata:
        refuse(fmt::format("a string for '{}' in __metadata__, found {}", shown(key_), what));
      case At::tensor:
        refuse(fmt::format("{} for {}, found {}", key_ == "dtype" ? "a string" : "an array", key_, what));
      case At::shape:
      case At::offsets:
        refuse(fmt::format("integers in {}, found {}", key_, what));
    }
    refuse("a header");
  }

  void finish_tensor() {
    for (const char* field : {"dtype", "shape", "data_offsets"})
      if (!keys_[1].contains(field)) refuse(fmt::format("the field {}, found none", field));
    if (offsets_.size() != 2) refuse(fmt::format("two data_offsets, found {}", offsets_.size()));
    if (offsets_[1] < offsets_[0])
      refuse(fmt::format("data_offsets that ascend, found {} and {}", offsets_[0], offsets_[1]));
    std::uint64_t bytes = 0;
    if (!checked_bytes(shape_, *type_, bytes)) refuse("a shape of fewer than 2^53 bytes, found a larger one");
    Entry e{tensor_, {*type_, {}}, offsets_[0], offsets_[1]};
    for (const std::uint64_t extent : shape_) e.spec.shape.push_back(static_cast<std::int64_t>(extent));
    if (bytes != e.end - e.begin)
      refuse(fmt::format("{} bytes for {}{}, found {} in data_offsets", bytes, type_name(*type_), e.spec.shape.str(),
                         e.end - e.begin));
    if (header_.tensors.size() == max_tensors) refuse(fmt::format("at most {} tensors, found more", max_tensors));
    header_.tensors.push_back(std::move(e));
    tensor_.clear();
  }

  const char *begin_, *furthest_;
  std::string name_, key_, tensor_;
  At at_ = At::file;
  std::set<std::string> keys_[2];  // of the header, and of the object in it that is being read
  std::optional<DType> type_;
  std::vector<std::uint64_t> shape_, offsets_;
  Header header_;
};

}  // namespace

const char* type_name(DType dtype) noexcept {
  switch (dtype) {
    case DType::f32:
      return "F32";
    case DType::f64:
      return "F64";
    case DType::u8:
      return "U8";
    case DType::i32:
      return "I32";
  }
  return "?";
}

bool valid_name(std::string_view name) noexcept {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '/' || c == '-';
  };
  return !name.empty() && name.size() <= max_name_bytes && name != "__metadata__" &&
         std::all_of(name.begin(), name.end(), allowed);
}

bool checked_bytes(std::span<const std::uint64_t> extents, DType dtype, std::uint64_t& bytes) noexcept {
  std::uint64_t product = size_of(dtype);  // zeros counted as ones, so that no partial product can overflow later
  bool none = false;
  for (const std::uint64_t extent : extents) {
    none = none || extent == 0;
    if (__builtin_mul_overflow(product, std::max<std::uint64_t>(extent, 1), &product) || product > max_integer)
      return false;
  }
  bytes = none ? 0 : product;
  return true;
}

std::string header_crc(std::string_view bytes) {
  // Unambiguous: inside a string of the JSON the quotes would carry a backslash.
  const std::size_t start = bytes.find(header_crc_start);
  if (start == std::string_view::npos || bytes.size() - start < header_crc_start.size() + zero_digits.size()) return {};
  const std::size_t digits = start + header_crc_start.size();
  std::uint32_t crc = crc32c(bytes.substr(0, digits));
  crc = crc32c(zero_digits, crc);
  return fmt::format("{:08x}", crc32c(bytes.substr(digits + zero_digits.size()), crc));
}

Header parse_header(std::string_view json, const std::string& name) {
  HeaderEvents events(json, name);
  if (json.empty() || json.front() != '{') events.refuse("the header to begin with '{'");
  // The parser takes a zero byte for the end of its input.
  const std::size_t last = json.find_last_not_of(' ');
  if (json.find('\0') != std::string_view::npos || json[last] != '}')
    events.refuse("one JSON object and spaces after it, found other bytes");
  const Cursor first{json.data(), events.furthest()}, end{json.data() + last + 1, events.furthest()};
  nlohmann::json::sax_parse(first, end, &events);
  return events.take();
}

}  // namespace tenon::safetensors
