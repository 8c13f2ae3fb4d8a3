// From a variant of operations to the overload sets of rules.hpp, for any variant, so that a test can show what a
// missing rule gives. The names differ from the rules': `infer` here would be found in place of a missing overload and
// recurse.
#pragma once
#include <type_traits>
#include <variant>

#include "lib/ops/visit.hpp"
#include "tenon/rules.hpp"

namespace tenon::dispatch {

[[noreturn]] void no_gradient(std::string_view op);

struct infer_rule {
  Specs in;
  template <class T>
  requires requires(const T& o, Specs in) { infer(o, in); }
  SpecList operator()(const T& o) const { return infer(o, in); }
};

/// Every alternative that `Differentiable` (a variant) holds needs a vjp; the others throw.
template <class Differentiable>
struct vjp_rule {
  Vjp& v;
  template <class T>
  requires(!op::detail::Holds<T, Differentiable>::value) void operator()(const T&) const { no_gradient(T::name); }
  template <class T>
  requires(op::detail::Holds<T, Differentiable>::value&& requires(const T& o, Vjp& v) { vjp(o, v); }) void operator()(
      const T& o) const {
    vjp(o, v);
  }
};

struct cost_rule {
  Specs in, out;
  template <class T>
  requires requires(const T& o, Specs in, Specs out) { cost(o, in, out); }
  Cost operator()(const T& o) const { return cost(o, in, out); }
};

template <class Any>
SpecList infer_any(const Any& any, Specs in) {
  return visit_op<SpecList>(infer_rule{in}, any);
}
template <class Differentiable, class Any>
void vjp_any(const Any& any, Vjp& v) {
  visit_op<void>(vjp_rule<Differentiable>{v}, any);
}
template <class Any>
Cost cost_any(const Any& any, Specs in, Specs out) {
  return visit_op<Cost>(cost_rule{in, out}, any);
}

}  // namespace tenon::dispatch
