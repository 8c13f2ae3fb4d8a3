// One minibatch: arrays ready for a program, in the order in which inputs and targets were declared.
#pragma once
#include <vector>

#include "tenon/array.hpp"

namespace tenon {

struct Batch {
  std::vector<Array> inputs, targets;
  std::int64_t size = 0;
};

}  // namespace tenon
