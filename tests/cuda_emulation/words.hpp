// The words of device code: where a thread is, barriers, shuffles and votes. Each word knows from where it was called,
// because threads that meet must meet at one place.
#pragma once
#include <concepts>

#include "tests/cuda_emulation/state.hpp"

#define threadIdx (::tenon::cuda::emulation::running->index)
#define blockIdx (::tenon::cuda::emulation::running_block->index)
#define blockDim (::tenon::cuda::emulation::running_block->extent)
#define gridDim (::tenon::cuda::emulation::running_block->grid)
inline constexpr int warpSize = 32;

namespace tenon::cuda::emulation {

/// What the hardware moves between lanes.
template <class T>
concept Shuffled = std::same_as<T, int> || std::same_as<T, unsigned> || std::same_as<T, long> ||
    std::same_as<T, unsigned long> || std::same_as<T, long long> || std::same_as<T, unsigned long long> ||
    std::same_as<T, float> || std::same_as<T, double>;

/// Lanes from which a shuffle takes its value, as PTX's shfl computes them: groups of `width`; up, down and xor that
/// would leave the group upwards (up: downwards) give the lane's own value.
enum class Shuffle : std::uint8_t { index, up, down, exclusive };
[[nodiscard]] std::uint32_t shuffle_source(Shuffle, std::uint32_t lane, int operand, int width, unsigned mask,
                                           const char* word, const Site&);

template <Shuffled T>
T shuffle(const char* word, Shuffle kind, unsigned mask, T value, int operand, int width, const Site& where) {
  struct Argument {
    T value, result;
    std::uint32_t from;
  } mine{value, value, shuffle_source(kind, running->lane, operand, width, mask, word, where)};
  meet_warp(word, mask, where, &mine, [](void* const arguments[lanes], unsigned mask_) {
    for (std::uint32_t l = 0; l < lanes; ++l)
      if (mask_ >> l & 1) {
        auto& a = *static_cast<Argument*>(arguments[l]);
        a.result = static_cast<const Argument*>(arguments[a.from])->value;
      }
  });
  return mine.result;
}

/// The lanes whose predicate holds.
unsigned vote(const char* word, unsigned mask, bool predicate, const Site&);

}  // namespace tenon::cuda::emulation

#define TENON_SITE ::tenon::cuda::emulation::Site where = ::tenon::cuda::emulation::Site::current()

inline void __syncthreads(TENON_SITE) { tenon::cuda::emulation::meet_block("__syncthreads", false, where); }
inline int __syncthreads_or(int predicate, TENON_SITE) {
  return tenon::cuda::emulation::meet_block("__syncthreads_or", predicate != 0, where) > 0 ? 1 : 0;
}
inline int __syncthreads_count(int predicate, TENON_SITE) {
  return tenon::cuda::emulation::meet_block("__syncthreads_count", predicate != 0, where);
}
inline int __syncthreads_and(int predicate, TENON_SITE) {
  return tenon::cuda::emulation::meet_block("__syncthreads_and", predicate == 0, where) == 0 ? 1 : 0;
}
inline void __syncwarp(unsigned mask = 0xffffffffu, TENON_SITE) {
  tenon::cuda::emulation::meet_warp("__syncwarp", mask, where, nullptr, nullptr, true);
}

template <tenon::cuda::emulation::Shuffled T>
T __shfl_sync(unsigned mask, T value, int lane, int width = warpSize, TENON_SITE) {
  return tenon::cuda::emulation::shuffle("__shfl_sync", tenon::cuda::emulation::Shuffle::index, mask, value, lane,
                                         width, where);
}
template <tenon::cuda::emulation::Shuffled T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize, TENON_SITE) {
  return tenon::cuda::emulation::shuffle("__shfl_up_sync", tenon::cuda::emulation::Shuffle::up, mask, value,
                                         static_cast<int>(delta), width, where);
}
template <tenon::cuda::emulation::Shuffled T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize, TENON_SITE) {
  return tenon::cuda::emulation::shuffle("__shfl_down_sync", tenon::cuda::emulation::Shuffle::down, mask, value,
                                         static_cast<int>(delta), width, where);
}
template <tenon::cuda::emulation::Shuffled T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = warpSize, TENON_SITE) {
  return tenon::cuda::emulation::shuffle("__shfl_xor_sync", tenon::cuda::emulation::Shuffle::exclusive, mask, value,
                                         lane_mask, width, where);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, TENON_SITE) {
  return tenon::cuda::emulation::vote("__ballot_sync", mask, predicate != 0, where);
}
inline int __any_sync(unsigned mask, int predicate, TENON_SITE) {
  return tenon::cuda::emulation::vote("__any_sync", mask, predicate != 0, where) != 0 ? 1 : 0;
}
inline int __all_sync(unsigned mask, int predicate, TENON_SITE) {
  return tenon::cuda::emulation::vote("__all_sync", mask, predicate == 0, where) == 0 ? 1 : 0;
}

// Blocks run one after the other and memory is that of one OS thread, so that there is nothing to fence.
inline void __threadfence() {}
inline void __threadfence_block() {}

#undef TENON_SITE
