// Which operations write where they read.
#pragma once
#include "tenon/kernel.hpp"

namespace tenon {

/// Input whose memory output `i` shares (updates work in place), or -1.
[[nodiscard]] int shared_input(const Problem&, int output);

}  // namespace tenon
