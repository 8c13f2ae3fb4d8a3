// std::visit over operations, for visitors with one overload an operation. Where one is missing the compiler's first
// error names the operation and the visitor, in place of a list of every overload that there is.
#pragma once
#include <concepts>
#include <type_traits>
#include <variant>

namespace tenon {

/// One overload for several operations that names each of them: `void operator()(const one_of<A, B> auto&) const`.
template <class T, class... Ops>
concept one_of = (std::same_as<T, Ops> || ...);

/// Never defined: its name is the message.
template <class Op, class Visitor>
struct no_overload_for;

template <class Op, class Visitor>
constexpr void require_overload() {
  if constexpr (!std::is_invocable_v<const Visitor&, const Op&>) (void)no_overload_for<Op, Visitor>{};
}

template <class Result, class Visitor, class... Ops>
Result visit_op(const Visitor& visitor, const std::variant<Ops...>& any) {
  (require_overload<Ops, Visitor>(), ...);
  if constexpr ((std::is_invocable_v<const Visitor&, const Ops&> && ...)) return std::visit(visitor, any);
}

}  // namespace tenon
