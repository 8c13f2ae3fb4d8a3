// What step_block.cu defines.
#pragma once
#include "tenon/kernel.hpp"

namespace tenon::cuda {

void feed(const Call&);     // FeedGeometry
void advance(const Call&);  // AdvanceGeometry

}  // namespace tenon::cuda
