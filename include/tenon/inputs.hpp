// What a model takes: names and shapes of its inputs, known from the first compile or from a file.
#pragma once
#include <string>
#include <vector>

#include "tenon/shape.hpp"

namespace tenon {

/// A named value without its batch axis.
struct InputSpec {
  std::string name;
  Shape shape;
  DType dtype = DType::f32;
};
struct ModelInputs {
  std::vector<InputSpec> specs;
};

}  // namespace tenon
