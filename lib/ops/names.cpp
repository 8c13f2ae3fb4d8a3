// Names of operations as tables, messages and `--provider conv2d=...` show them.
#include <array>

#include "tenon/custom_op.hpp"
#include "tenon/op.hpp"

namespace tenon::op {

const char* name_of(UnaryFn fn) {
  switch (fn) {
    case UnaryFn::identity:
      return "copy";
    case UnaryFn::relu:
      return "relu";
    case UnaryFn::leaky_relu:
      return "leaky_relu";
    case UnaryFn::elu:
      return "elu";
    case UnaryFn::gelu:
      return "gelu";
    case UnaryFn::silu:
      return "silu";
    case UnaryFn::sigmoid:
      return "sigmoid";
    case UnaryFn::tanh:
      return "tanh";
    case UnaryFn::affine:
      return "affine";
    case UnaryFn::exp:
      return "exp";
    case UnaryFn::log:
      return "log";
    case UnaryFn::sqrt:
      return "sqrt";
    case UnaryFn::square:
      return "square";
    case UnaryFn::abs:
      return "abs";
  }
  return "?";
}

namespace {
template <class... T>
constexpr auto names(const std::variant<T...>*) {
  return std::array<std::string_view, sizeof...(T)>{T::name...};
}
constexpr auto kind_names = names(static_cast<const AnyOp*>(nullptr));

struct Namer {
  template <class T>
  std::string_view operator()(const T&) const {
    return T::name;
  }
  std::string_view operator()(const CustomOp& c) const { return c.def->name; }
  std::string_view operator()(const Unary& u) const { return name_of(u.fn); }
  std::string_view operator()(const Softmax& s) const { return s.log ? "log_softmax" : "softmax"; }
  std::string_view operator()(const Pool2d& p) const { return p.fn == PoolFn::max ? "max_pool2d" : "avg_pool2d"; }
  std::string_view operator()(const Binary& b) const {
    constexpr std::string_view text[] = {"add", "sub", "mul", "div"};
    return text[static_cast<int>(b.fn)];
  }
  std::string_view operator()(const Reduce& r) const {
    constexpr std::string_view text[] = {"sum", "mean", "max", "min"};
    return text[static_cast<int>(r.fn)];
  }
};
}  // namespace

std::string_view name_of(const AnyOp& any) { return std::visit(Namer{}, any); }
std::string_view name_of(Kind kind) { return kind_names[static_cast<std::size_t>(kind)]; }

}  // namespace tenon::op
