// conv2d and its gradients by cuDNN, NHWC. Filters are (kh, kw, c/groups, k) here and (k, kh, kw, c/groups) there: each run turns
// the filter, or its gradient, by cuBLAS in the workspace, [filter | cuDNN's own]. The algorithm is chosen when the row is bound,
// the first that cuDNN's heuristics name which
//   - sums products of the operands themselves: the published bounds are of such sums, not of FFT's or Winograd's;
//   - gives the same bits in every run, unless TENON_CUDNN_NONDETERMINISTIC is 1;
//   - multiplies in the row's precision, and needs no more than 1 GiB.
#include <cstdlib>
#include <cstring>
#include <type_traits>

#include "kernels/common/conv_geometry.hpp"
#include "kernels/cuda/cublas_product.hpp"
#include "kernels/cuda/cudnn_rows.hpp"
#include "kernels/cuda/module_device.hpp"

namespace tenon::cuda {
namespace {

using cudnn::DataAlgorithm, cudnn::FilterAlgorithm, cudnn::ForwardAlgorithm, cudnn::MathType, cudnn::Performance;

constexpr std::size_t most_workspace = std::size_t{1} << 30;
constexpr int most_offers = 16;

enum class Direction { forward, grad_input, grad_filter };

struct Convolution {
  Libraries* libraries = nullptr;
  Direction direction = Direction::forward;
  Descriptor<cudnn::Tensor> x, y;
  Descriptor<cudnn::Filter> filter;
  Descriptor<cudnn::Convolution> convolution;
  int algorithm = 0;
  std::size_t scratch = 0;       // bytes of cuDNN's workspace
  std::int64_t taps = 0, k = 0;  // the filter as a matrix: (kh kw c/groups, k)

  /// A matrix of one row or column is its own transpose.
  [[nodiscard]] bool turns_filter() const { return taps > 1 && k > 1; }
  [[nodiscard]] std::size_t filter_bytes() const {
    return turns_filter() ? rounded_up(static_cast<std::size_t>(taps * k) * 4) : 0;
  }
};

void run_forward(const Call& call) {
  const auto& c = state_of<Convolution>(call);
  Libraries& l = *c.libraries;
  const std::lock_guard lock(l.mutex);
  std::byte* workspace = first_piece(call);
  const auto* filter = static_cast<const float*>(call.in[1]);
  if (c.turns_filter()) {
    auto* turned = reinterpret_cast<float*>(workspace);
    if (!run_transpose(l, call, filter, c.taps, c.k, turned)) return;
    filter = turned;
  }
  workspace += c.filter_bytes();
  if (!l.ran(l.dnn.SetStream(l.dnn_handle, stream_of(call)), "cudnnSetStream")) return;
  if (c.direction == Direction::forward)
    l.ran(
        l.dnn.ConvolutionForward(l.dnn_handle, &one, c.x.get(), call.in[0], c.filter.get(), filter, c.convolution.get(),
                                 ForwardAlgorithm{c.algorithm}, workspace, c.scratch, &zero, c.y.get(), call.out[0]),
        "cudnnConvolutionForward");
  else
    l.ran(l.dnn.ConvolutionBackwardData(l.dnn_handle, &one, c.filter.get(), filter, c.y.get(), call.in[0],
                                        c.convolution.get(), DataAlgorithm{c.algorithm}, workspace, c.scratch, &zero,
                                        c.x.get(), call.out[0]),
          "cudnnConvolutionBackwardData");
}

void run_grad_filter(const Call& call) {
  const auto& c = state_of<Convolution>(call);
  Libraries& l = *c.libraries;
  const std::lock_guard lock(l.mutex);
  std::byte* workspace = first_piece(call);
  auto* out = static_cast<float*>(call.out[0]);
  float* gradient = c.turns_filter() ? reinterpret_cast<float*>(workspace) : out;
  workspace += c.filter_bytes();
  if (!l.ran(l.dnn.SetStream(l.dnn_handle, stream_of(call)), "cudnnSetStream")) return;
  if (!l.ran(l.dnn.ConvolutionBackwardFilter(l.dnn_handle, &one, c.x.get(), call.in[1], c.y.get(), call.in[0],
                                             c.convolution.get(), FilterAlgorithm{c.algorithm}, workspace, c.scratch,
                                             &zero, c.filter.get(), gradient),
             "cudnnConvolutionBackwardFilter"))
    return;
  if (c.turns_filter()) run_transpose(l, call, gradient, c.k, c.taps, out);
}

/// What cuDNN offers, the fastest first, as its heuristics think.
cudnn::Status offers(const Convolution& c, int* count, Performance* list) {
  const cudnn::Functions& f = c.libraries->dnn;
  const cudnn::Handle handle = c.libraries->dnn_handle;
  switch (c.direction) {
    case Direction::forward:
      return f.GetConvolutionForwardAlgorithm_v7(handle, c.x.get(), c.filter.get(), c.convolution.get(), c.y.get(),
                                                 most_offers, count, list);
    case Direction::grad_input:
      return f.GetConvolutionBackwardDataAlgorithm_v7(handle, c.filter.get(), c.y.get(), c.convolution.get(), c.x.get(),
                                                      most_offers, count, list);
    default:
      return f.GetConvolutionBackwardFilterAlgorithm_v7(handle, c.x.get(), c.y.get(), c.convolution.get(),
                                                        c.filter.get(), most_offers, count, list);
  }
}
cudnn::Status scratch_of(const Convolution& c, int algorithm, std::size_t* bytes) {
  const cudnn::Functions& f = c.libraries->dnn;
  const cudnn::Handle handle = c.libraries->dnn_handle;
  switch (c.direction) {
    case Direction::forward:
      return f.GetConvolutionForwardWorkspaceSize(handle, c.x.get(), c.filter.get(), c.convolution.get(), c.y.get(),
                                                  ForwardAlgorithm{algorithm}, bytes);
    case Direction::grad_input:
      return f.GetConvolutionBackwardDataWorkspaceSize(handle, c.filter.get(), c.y.get(), c.convolution.get(),
                                                       c.x.get(), DataAlgorithm{algorithm}, bytes);
    default:
      return f.GetConvolutionBackwardFilterWorkspaceSize(handle, c.x.get(), c.y.get(), c.convolution.get(),
                                                         c.filter.get(), FilterAlgorithm{algorithm}, bytes);
  }
}

/// Neither FFT nor Winograd.
bool sums_products(Direction d, int algorithm) {
  switch (d) {
    case Direction::forward:
      return algorithm <= static_cast<int>(ForwardAlgorithm::direct);
    case Direction::grad_input:
      return algorithm <= static_cast<int>(DataAlgorithm::gemm);
    default:
      return algorithm <= static_cast<int>(FilterAlgorithm::gemm) ||
             algorithm == static_cast<int>(FilterAlgorithm::atomics_precomp);
  }
}

bool nondeterministic_allowed() {
  const char* value = std::getenv("TENON_CUDNN_NONDETERMINISTIC");
  return value != nullptr && std::strcmp(value, "1") == 0;
}

bool choose_algorithm(Convolution& c, Precision precision, Text* why) {
  const cudnn::Functions& f = c.libraries->dnn;
  Performance list[most_offers];
  int count = 0;
  if (const cudnn::Status s = offers(c, &count, list); s != cudnn::Status::success)
    return refuse(why, "cuDNN offers no algorithm: %s", f.GetErrorString(s));
  const bool any_order = nondeterministic_allowed();
  for (int i = 0; i < count && i < most_offers; ++i) {
    const Performance& p = list[i];
    const bool multiplies =
        precision == Precision::fp32 ? p.math == MathType::fma : p.math != MathType::tensor_op_allow_conversion;
    if (p.status != cudnn::Status::success || !multiplies || !sums_products(c.direction, p.algorithm)) continue;
    if (!any_order && p.determinism != cudnn::Determinism::deterministic) continue;
    // The heuristics look at less than the library does when it is asked for the workspace of one algorithm.
    std::size_t bytes = 0;
    if (f.SetConvolutionMathType(c.convolution.get(), p.math) != cudnn::Status::success ||
        scratch_of(c, p.algorithm, &bytes) != cudnn::Status::success || bytes > most_workspace)
      continue;
    c.algorithm = p.algorithm;
    c.scratch = bytes;
    return true;
  }
  return refuse(why, "cuDNN offers no %salgorithm without FFT or Winograd in %s that needs at most 1 GiB",
                any_order ? "" : "deterministic ", precision == Precision::fp32 ? "fp32" : "tf32");
}

ConvGeometry forward_geometry(const op::Conv2d& o, const TensorSpec& x, const TensorSpec& y) {
  ConvGeometry g;
  g.n = extent(x, 0);
  g.h = static_cast<std::int32_t>(extent(x, 1));
  g.w = static_cast<std::int32_t>(extent(x, 2));
  g.c = static_cast<std::int32_t>(extent(x, 3));
  g.oh = static_cast<std::int32_t>(extent(y, 1));
  g.ow = static_cast<std::int32_t>(extent(y, 2));
  g.k = static_cast<std::int32_t>(extent(y, 3));
  g.stride_h = o.stride.h;
  g.stride_w = o.stride.w;
  g.dilation_h = o.dilation.h;
  g.dilation_w = o.dilation.w;
  g.pad_top = o.pad.top;
  g.pad_left = o.pad.left;
  g.groups = o.groups;
  return g;
}

bool describe(Convolution& c, const ConvGeometry& g, Precision precision, Text* why) {
  const Libraries& l = *c.libraries;
  const cudnn::Functions& f = l.dnn;
  Calls calls(l, why);
  calls.add(make_tensor(l, c.x, g.n, g.h, g.w, g.c), "cudnnSetTensor4dDescriptor");
  calls.add(make_tensor(l, c.y, g.n, g.oh, g.ow, g.k), "cudnnSetTensor4dDescriptor");
  calls.add(c.filter.make(f.CreateFilterDescriptor, f.DestroyFilterDescriptor, f.SetFilter4dDescriptor,
                          cudnn::DataType::f32, cudnn::Format::nhwc, g.k, g.c / g.groups, g.kh, g.kw),
            "cudnnSetFilter4dDescriptor");
  if (!calls.add(c.convolution.make(f.CreateConvolutionDescriptor, f.DestroyConvolutionDescriptor,
                                    f.SetConvolution2dDescriptor, g.pad_top, g.pad_left, g.stride_h, g.stride_w,
                                    g.dilation_h, g.dilation_w, cudnn::Mode::cross_correlation, cudnn::DataType::f32),
                 "cudnnSetConvolution2dDescriptor"))
    return false;
  calls.add(f.SetConvolutionGroupCount(c.convolution.get(), g.groups), "cudnnSetConvolutionGroupCount");
  calls.add(
      f.SetConvolutionMathType(c.convolution.get(), precision == Precision::fp32 ? MathType::fma : MathType::tensor_op),
      "cudnnSetConvolutionMathType");
  return calls.ok();
}

bool bind(Device* d, const Problem& p, Direction direction, const ConvGeometry& g, Precision precision,
          LibraryStep* step, Text* why) {
  const std::int64_t span_h = std::int64_t{g.kh - 1} * g.dilation_h + 1,
                     span_w = std::int64_t{g.kw - 1} * g.dilation_w + 1;
  if (!pads_alike(g.h, g.pad_top, span_h, g.stride_h, g.oh) || !pads_alike(g.w, g.pad_left, span_w, g.stride_w, g.ow))
    return refuse_padding(why);
  if (!takes_operands(p, why) || !have_handles(*d->libraries, true, true, why)) return false;
  const std::lock_guard lock(d->libraries->mutex);
  auto* c = new (std::nothrow) Convolution;
  if (c == nullptr) return refuse(why, "no memory on the host");
  c->libraries = d->libraries;
  c->direction = direction;
  c->taps = std::int64_t{g.kh} * g.kw * (g.c / g.groups);
  c->k = g.k;
  if (!describe(*c, g, precision, why) || !choose_algorithm(*c, precision, why)) {
    delete c;
    return false;
  }
  give(step, c, direction == Direction::grad_filter ? run_grad_filter : run_forward,
       c->filter_bytes() + c->scratch + workspace_slack);
  return true;
}

}  // namespace

template <class Op, Precision P>
bool bind_cudnn_convolution(Device* d, const Problem& p, LibraryStep* step, Text* why) {
  const op::Conv2d* forward = nullptr;
  if constexpr (std::is_same_v<Op, op::Conv2d>)
    forward = &p.as<Op>();
  else
    forward = &p.as<Op>().forward;
  if (forward->epilogue.any()) return refuse(why, "takes no epilogue, found one");
  if constexpr (std::is_same_v<Op, op::Conv2dGradFilter>) {  // gy, x
    ConvGeometry g = forward_geometry(*forward, p.in[1], p.in[0]);
    g.kh = p.as<Op>().kernel.h;
    g.kw = p.as<Op>().kernel.w;
    return bind(d, p, Direction::grad_filter, g, P, step, why);
  } else {
    constexpr bool gradient = std::is_same_v<Op, op::Conv2dGradInput>;  // gy, filter -> gx
    ConvGeometry g =
        gradient ? forward_geometry(*forward, p.out[0], p.in[0]) : forward_geometry(*forward, p.in[0], p.out[0]);
    g.kh = static_cast<std::int32_t>(extent(p.in[1], 0));
    g.kw = static_cast<std::int32_t>(extent(p.in[1], 1));
    return bind(d, p, gradient ? Direction::grad_input : Direction::forward, g, P, step, why);
  }
}
#define TENON_CONVOLUTION(Op)                                                                              \
  template bool bind_cudnn_convolution<Op, Precision::tf32>(Device*, const Problem&, LibraryStep*, Text*); \
  template bool bind_cudnn_convolution<Op, Precision::fp32>(Device*, const Problem&, LibraryStep*, Text*);
TENON_CONVOLUTION(op::Conv2d)
TENON_CONVOLUTION(op::Conv2dGradInput)
TENON_CONVOLUTION(op::Conv2dGradFilter)
#undef TENON_CONVOLUTION

}  // namespace tenon::cuda
