// The copy of the parameters on a device that is not the host, and which of the two is newer. There is one at most: a model that
// moves to another device comes by way of the host.
#pragma once
#include <mutex>
#include <optional>

#include "lib/runtime/slab.hpp"

namespace tenon {

struct ParameterMirror {
  enum class Newer : std::uint8_t { neither, host, device };
  std::mutex mutex;
  Backend* device = nullptr;
  Slab slab;
  Newer newer = Newer::host;
};

}  // namespace tenon
