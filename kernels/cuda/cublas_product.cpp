// matmul and its gradients by cublasGemmEx. cuBLAS is column-major: c = a b of row-major matrices is c^T = b^T a^T there, so the
// operands change places and every one is what it was. A run's workspace is the plan's, because the library would allocate its
// own while a graph is recorded, and because its order of summing may depend on it.
#include "kernels/cuda/cublas_product.hpp"

#include <algorithm>
#include <type_traits>

#include "kernels/cuda/module_device.hpp"

namespace tenon::cuda {
namespace {

/// One operand as it lies in memory, row-major: Call::in[in] is (rows, columns), or that transposed.
struct Operand {
  std::int32_t in = 0;
  std::int64_t rows = 0, columns = 0;
  bool transposed = false;

  /// Of row-major memory.
  [[nodiscard]] int leading() const { return static_cast<int>(transposed ? rows : columns); }
  [[nodiscard]] cublas::Operation operation() const {
    return transposed ? cublas::Operation::transpose : cublas::Operation::none;
  }
};
Operand operand(const Problem& p, std::int32_t in, bool transposed) {
  const std::int64_t rows = extent(p.in[in], 0), columns = extent(p.in[in], 1);
  return transposed ? Operand{in, columns, rows, true} : Operand{in, rows, columns, false};
}
Operand turned(const Operand& o) { return {o.in, o.columns, o.rows, !o.transposed}; }

/// out[0] (a.rows, b.columns) = a b.
struct Product {
  Libraries* libraries;
  Operand a, b;
  cublas::ComputeType compute;
  std::size_t workspace;
};

/// Partial sums of up to 64 slices of the sum; NVIDIA advises 32 MiB at most.
std::size_t workspace_of(const Operand& a, const Operand& b) {
  constexpr std::size_t least = 1 << 20, most = 32 << 20;
  return rounded_up(std::clamp(static_cast<std::size_t>(a.rows * b.columns) * 4 * 64, least, most));
}

void run_product(const Call& call) {
  const auto& p = state_of<Product>(call);
  Libraries& l = *p.libraries;
  const cublas::Functions& f = l.blas;
  const std::lock_guard lock(l.mutex);
  // Setting the stream takes the workspace away again.
  if (!l.ran(f.SetStream_v2(l.blas_handle, stream_of(call)), "cublasSetStream") ||
      !l.ran(f.SetWorkspace_v2(l.blas_handle, first_piece(call), p.workspace), "cublasSetWorkspace"))
    return;
  constexpr auto f32 = cublas::DataType::f32;
  const auto m = static_cast<int>(p.b.columns), n = static_cast<int>(p.a.rows), k = static_cast<int>(p.a.columns);
  l.ran(f.GemmEx(l.blas_handle, p.b.operation(), p.a.operation(), m, n, k, &one, call.in[p.b.in], f32, p.b.leading(),
                 call.in[p.a.in], f32, p.a.leading(), &zero, call.out[0], f32, m, p.compute,
                 cublas::Algorithm::automatic),
        "cublasGemmEx");
}

bool bind(Device* d, const Problem& p, const op::Epilogue& e, Operand a, Operand b, cublas::ComputeType compute,
          LibraryStep* step, Text* why) {
  if (e.any()) return refuse(why, "takes no epilogue, found one");
  if (!takes_operands(p, why) || !have_handles(*d->libraries, false, true, why)) return false;
  const std::size_t workspace = workspace_of(a, b);
  auto* product = new (std::nothrow) Product{d->libraries, a, b, compute, workspace};
  if (product == nullptr) return refuse(why, "no memory on the host");
  give(step, product, run_product, workspace + workspace_slack);
  return true;
}

template <Precision P>
constexpr cublas::ComputeType compute_type =
    P == Precision::tf32 ? cublas::ComputeType::f32_fast_tf32 : cublas::ComputeType::f32_pedantic;

}  // namespace

template <class Op, Precision P>
bool bind_cublas_product(Device* d, const Problem& p, LibraryStep* step, Text* why) {
  if constexpr (std::is_same_v<Op, op::MatMul>) {
    const auto& m = p.as<op::MatMul>();
    return bind(d, p, m.epilogue, operand(p, 0, m.transpose_a), operand(p, 1, m.transpose_b), compute_type<P>, step,
                why);
  } else {
    const op::MatMul& m = p.as<Op>().forward;
    const Operand gy = operand(p, 0, false);
    if constexpr (std::is_same_v<Op, op::MatMulGradA>) {  // ga = gy b^T, or its transpose where a was transposed
      const Operand b = turned(operand(p, 1, m.transpose_b));
      return m.transpose_a ? bind(d, p, m.epilogue, turned(b), turned(gy), compute_type<P>, step, why)
                           : bind(d, p, m.epilogue, gy, b, compute_type<P>, step, why);
    } else {  // gb = a^T gy, or its transpose
      const Operand a = turned(operand(p, 1, m.transpose_a));
      return m.transpose_b ? bind(d, p, m.epilogue, turned(gy), turned(a), compute_type<P>, step, why)
                           : bind(d, p, m.epilogue, a, gy, compute_type<P>, step, why);
    }
  }
}
#define TENON_PRODUCT(Op)                                                                               \
  template bool bind_cublas_product<Op, Precision::tf32>(Device*, const Problem&, LibraryStep*, Text*); \
  template bool bind_cublas_product<Op, Precision::fp32>(Device*, const Problem&, LibraryStep*, Text*);
TENON_PRODUCT(op::MatMul)
TENON_PRODUCT(op::MatMulGradA)
TENON_PRODUCT(op::MatMulGradB)
#undef TENON_PRODUCT

bool run_transpose(Libraries& l, const Call& call, const float* from, std::int64_t rows, std::int64_t columns,
                   float* to) {
  if (!l.ran(l.blas.SetStream_v2(l.blas_handle, stream_of(call)), "cublasSetStream")) return false;
  const auto m = static_cast<int>(rows), n = static_cast<int>(columns);
  // With a factor of 0 the second matrix is not read; to itself is what may stand there.
  return l.ran(l.blas.Sgeam(l.blas_handle, cublas::Operation::transpose, cublas::Operation::none, m, n, &one, from, n,
                            &zero, to, m, to, m),
               "cublasSgeam");
}

}  // namespace tenon::cuda
