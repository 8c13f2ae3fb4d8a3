// Sums along a row: the canonical order for float, one chain for double.
#pragma once
#include "kernels/common/row_reduce.hpp"
#include "kernels/reference/support.hpp"

namespace tenon::reference {

/// step(acc, i) gives the chain after element i; chains begin at 0.
template <class T, class Step>
T row_chain(std::int64_t n, const Step& step) {
  if constexpr (Order<T>::canonical) {
    return order::row_chain<T>(n, step);
  } else {
    T acc{};
    for (std::int64_t i = 0; i < n; ++i) acc = step(acc, i);
    return acc;
  }
}
template <class T, class Term>
T row_sum(std::int64_t n, const Term& term) {
  return row_chain<T>(n, [&](T acc, std::int64_t i) { return acc + term(i); });
}

}  // namespace tenon::reference
