// The steps that join_updates() makes.
#pragma once
#include <cstdint>
#include <vector>

#include "tenon/kernel.hpp"

namespace tenon {

/// An update and where its part of the slabs begins. Its operands are all the slabs' ranges: parameter, gradient, states.
struct PartOfUpdate {
  Step update;
  std::int32_t ins = 0, outs = 0;  // of the update
  std::int64_t first = 0;          // element
};

/// The product whose result is the gradient, with the update behind it. Call::in: the product's, then the update's without the
/// gradient; Call::out: the product's, then the update's.
struct ProductThenUpdate {
  Step product;
  std::int32_t ins = 0, outs = 0;  // of the product
  PartOfUpdate part;
};
void run_product_then_update(const Call&);

/// An update of what no product takes along.
struct UpdateOfRest {
  struct Range {
    std::int64_t first = 0, count = 0;
  };
  PartOfUpdate whole;
  std::vector<Range> ranges{};
};
void run_update_of_rest(const Call&);

}  // namespace tenon
