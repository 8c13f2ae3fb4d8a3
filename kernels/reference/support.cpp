// The checks of bind().
#include "kernels/reference/support.hpp"

namespace tenon::reference {
namespace {

bool is_float(DType d) { return d == DType::f32 || d == DType::f64; }

bool fits(char letter, DType found, DType floating) {
  switch (letter) {
    case 'f':
      return found == floating;
    case 'i':
      return found == DType::i32;
    case 'l':
      return found == DType::i32 || found == DType::u8;
    case 'm':
      return found == DType::u8;
    case 't':
      return found == DType::i32 || found == DType::u8 || found == floating;
    default:
      return false;
  }
}

const char* words(char letter, DType floating) {
  switch (letter) {
    case 'f':
      return name_of(floating);
    case 'i':
      return "i32";
    case 'l':
      return "i32 or u8";
    case 'm':
      return "u8";
    default:
      return "labels or probabilities";
  }
}

/// The element type of the first floating operand, which all others have to share.
DType floating_type(const Problem& p, std::string_view in) {
  for (std::size_t i = 0; i < in.size() && static_cast<std::int32_t>(i) < p.ins; ++i)
    if (in[i] == 'f' && is_float(p.in[i].dtype)) return p.in[i].dtype;
  return DType::f32;
}

std::string mismatch(const char* side, std::string_view letters, std::int32_t count, const TensorSpec* specs,
                     DType floating) {
  if (static_cast<std::size_t>(count) != letters.size())
    return "expects " + std::to_string(letters.size()) + " " + side + "s, found " + std::to_string(count);
  for (std::size_t i = 0; i < letters.size(); ++i)
    if (!fits(letters[i], specs[i].dtype, floating))
      return std::string(side) + " " + std::to_string(i) + " expects " + words(letters[i], floating) + ", found " +
             name_of(specs[i].dtype);
  return {};
}

}  // namespace

Binder::Binder(const Problem& p, std::string_view in, std::string_view out) : type_(floating_type(p, in)) {
  why_ = mismatch("input", in, p.ins, p.in, type_);
  if (why_.empty()) why_ = mismatch("output", out, p.outs, p.out, type_);
}

}  // namespace tenon::reference
