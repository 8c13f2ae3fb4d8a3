// What the files of the reference share: orders per element type, operand access, and the checks of bind().
#pragma once
#ifdef _OPENMP
#include <omp.h>
#endif

#include <limits>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "kernels/common/order.hpp"
#include "tenon/kernel.hpp"

namespace tenon::reference {

/// Chunk lengths: canonical for float; for double one chain over everything.
template <class T>
struct Order {
  static constexpr bool canonical = std::is_same_v<T, float>;
  static constexpr std::int64_t all = std::numeric_limits<std::int64_t>::max() / 2;
  static constexpr std::int64_t k_chunk = canonical ? order::k_chunk : all;
  static constexpr std::int64_t sample_group = canonical ? order::sample_group : all;
};

/// Number of chunks; unlike (terms + chunk - 1) / chunk it holds for the endless chunk of double as well.
constexpr std::int64_t chunk_count(std::int64_t terms, std::int64_t chunk) {
  return terms <= 0 ? 1 : (terms - 1) / chunk + 1;
}

/// Loops that need scratch of their own for each thread use at most this many: the workspace is sized before the number
/// of threads is known.
inline constexpr int max_threads = 16;
inline int threads_with_scratch(const Call& call) { return call.threads < max_threads ? call.threads : max_threads; }

/// Of the calling thread, inside a parallel loop.
inline int thread_number() {
#ifdef _OPENMP
  return omp_get_thread_num();
#else
  return 0;
#endif
}

template <class T>
const T* in(const Call& call, int i) {
  return static_cast<const T*>(call.in[i]);
}
template <class T>
T* out(const Call& call, int i) {
  return static_cast<T*>(call.out[i]);
}

/// Binding a problem to one function for f32 and one for f64.
class Binder {
 public:
  /// Checks element types, one letter an operand: f the floating type that all f share, i i32, l labels (i32 or u8),
  /// m u8, t target: labels or f.
  Binder(const Problem&, std::string_view in, std::string_view out);

  [[nodiscard]] bool refused() const { return !why_.empty(); }
  [[nodiscard]] Refusal refusal() const { return {why_}; }
  [[nodiscard]] std::size_t element_bytes() const { return size_of(type_); }

  /// `scratch`: elements of workspace.
  template <class State>
  [[nodiscard]] Bound step(RunFn f32, RunFn f64, const State& state, std::int64_t scratch = 0) const {
    if (refused()) return refusal();
    return make_step(type_ == DType::f32 ? f32 : f64, state, static_cast<std::size_t>(scratch) * element_bytes());
  }

 private:
  DType type_ = DType::f32;
  std::string why_;
};

template <class Op>
Kernel row(Bound (*bind)(const Problem&, const Kernel&), Edges edges = {}) {
  return {op::kind_of<Op>, "reference", true, true, edges, bind, nullptr};
}

// The families, in the order in which kernels.cpp lists them.
void append_conv2d_rows(KernelTable&);
void append_matmul_rows(KernelTable&);
void append_bias_rows(KernelTable&);
void append_pool2d_rows(KernelTable&);
void append_pointwise_rows(KernelTable&);
void append_pointwise_chain_rows(KernelTable&);
void append_loss_rows(KernelTable&);
void append_softmax_rows(KernelTable&);
void append_shape_rows(KernelTable&);
void append_gather_rows(KernelTable&);
void append_reduce_rows(KernelTable&);
void append_update_rows(KernelTable&);
void append_custom_rows(KernelTable&);

}  // namespace tenon::reference
