// What the fake cuDNN and the fake cuBLAS have in common: a record of their calls, the faults that they found in them, and what a
// test tells them to do. Both compute, with plain loops, because the device's memory is the host's here.
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "kernels/cuda/libraries_api.hpp"

namespace tenon::fake {

struct Fake {
  std::vector<std::string> calls;   // names, with what matters behind them
  std::vector<std::string> faults;  // what a caller must not do
  std::set<const void*> live;       // handles and descriptors

  // For a test to set.
  void* stream = nullptr;  // where work belongs
  std::string failing;     // the function that fails
  std::size_t version = 130000;
  std::vector<cuda::cudnn::Performance> offers;  // in place of its own
  int huge_algorithm = -1;                       // needs more than a device has

  void fault(const std::string& text) { faults.push_back(text); }
  /// Records a call. True where it has to fail.
  bool enter(const char* name) {
    calls.emplace_back(name);
    return failing == name;
  }
};

/// Exported by both, each of its own.
extern "C" Fake* tenon_fake();
using Entry = Fake* (*)();

/// To the 11 bits of significand that a tensor core reads, to nearest.
inline float to_tf32(float x) {
  if (!std::isfinite(x)) return x;
  const auto bits = std::bit_cast<std::uint32_t>(x);
  return std::bit_cast<float>((bits + 0xfff + (bits >> 13 & 1)) & 0xffffe000u);
}

inline bool aligned(const void* p) { return reinterpret_cast<std::uintptr_t>(p) % 256 == 0; }

}  // namespace tenon::fake
