// From a variant of operations to the overload sets of rules.hpp, for any variant, so that a test can show what a
// missing rule gives. The names differ from the rules': `infer` here would be found in place of a missing overload and
// recurse.
#pragma once
#include <type_traits>
#include <variant>

#include "tenon/rules.hpp"

namespace tenon::dispatch {

[[noreturn]] void no_gradient(std::string_view op);

template <class Any>
SpecList infer_any(const Any& any, Specs in) {
  return std::visit([&](const auto& o) { return infer(o, in); }, any);
}

/// Every alternative that `Differentiable` (a variant) holds needs a vjp; the others throw.
template <class Differentiable, class Any>
void vjp_any(const Any& any, Vjp& v) {
  std::visit(
      [&](const auto& o) {
        using T = std::decay_t<decltype(o)>;
        if constexpr (op::detail::Holds<T, Differentiable>::value)
          vjp(o, v);
        else
          no_gradient(T::name);
      },
      any);
}

template <class Any>
Cost cost_any(const Any& any, Specs in, Specs out) {
  return std::visit([&](const auto& o) { return cost(o, in, out); }, any);
}

}  // namespace tenon::dispatch
