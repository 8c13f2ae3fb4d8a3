// The fake cuDNN but for its convolutions: handles, descriptors, pooling, softmax, activations and biases.
#include "tests/cuda_libraries/fake_cudnn.hpp"

#include <algorithm>

using namespace tenon::cuda::cudnn;
using tenon::fake::bad, tenon::fake::check_work, tenon::fake::create, tenon::fake::destroy, tenon::fake::failed;
using tenon::fake::Fake, tenon::fake::used;

namespace tenon::fake {
Fake& cudnn() {
  static Fake f;
  return f;
}
void check_work(Handle h, const void* alpha, const void* beta, const char* where) {
  if (!cudnn().live.contains(h))
    cudnn().fault(std::string(where) + ": no such handle");
  else if (h->stream != cudnn().stream)
    cudnn().fault(std::string(where) + ": work on another stream");
  if (*static_cast<const float*>(alpha) != 1.f || *static_cast<const float*>(beta) != 0.f)
    cudnn().fault(std::string(where) + ": factors other than 1 and 0");
}
}  // namespace tenon::fake

namespace {

const float* floats(const void* p) { return static_cast<const float*>(p); }
float* floats(void* p) { return static_cast<float*>(p); }
/// Makes a descriptor that exists usable.
template <class Tag>
bool set(Tag* d) {
  if (!tenon::fake::cudnn().live.contains(d))
    tenon::fake::cudnn().fault("a descriptor was set that is not there");
  else
    d->set = true;
  return tenon::fake::cudnn().live.contains(d);
}

/// Calls tap(index in x, index in y, taps of its window).
template <class Tap>
Status for_each_tap(const PoolingTag& p, const Extents& x, const Extents& y, const Tap& tap) {
  if (x.n != y.n || x.c != y.c || y.h != (x.h + 2 * p.pad_h - p.window_h) / p.stride_h + 1 ||
      y.w != (x.w + 2 * p.pad_w - p.window_w) / p.stride_w + 1 || p.pad_h >= p.window_h || p.pad_w >= p.window_w)
    return bad;
  for (int n = 0; n < y.n; ++n)
    for (int oy = 0; oy < y.h; ++oy)
      for (int ox = 0; ox < y.w; ++ox) {
        const int top = oy * p.stride_h - p.pad_h, left = ox * p.stride_w - p.pad_w;
        const int y0 = std::max(top, 0), y1 = std::min(top + p.window_h, x.h);
        const int x0 = std::max(left, 0), x1 = std::min(left + p.window_w, x.w);
        for (int iy = y0; iy < y1; ++iy)
          for (int ix = x0; ix < x1; ++ix)
            for (int c = 0; c < y.c; ++c) tap(x.at(n, iy, ix, c), y.at(n, oy, ox, c), (y1 - y0) * (x1 - x0));
      }
  return Status::success;
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

Fake* tenon_fake() { return &tenon::fake::cudnn(); }

std::size_t cudnnGetVersion() { return tenon::fake::cudnn().version; }
const char* cudnnGetErrorString(Status s) {
  return s == failed ? "the launch failed" : s == bad ? "a bad parameter" : "another error";
}
Status cudnnCreate(Handle* h) { return create("cudnnCreate", h); }
Status cudnnDestroy(Handle h) { return destroy("cudnnDestroy", h); }
Status cudnnSetStream(Handle h, Stream s) {
  TENON_ENTER("cudnnSetStream");
  h->stream = s;
  return Status::success;
}
Status cudnnCreateTensorDescriptor(Tensor* d) { return create("cudnnCreateTensorDescriptor", d); }
Status cudnnDestroyTensorDescriptor(Tensor d) { return destroy("cudnnDestroyTensorDescriptor", d); }
Status cudnnSetTensor4dDescriptor(Tensor d, Format format, DataType type, int n, int c, int h, int w) {
  TENON_ENTER("cudnnSetTensor4dDescriptor");
  if (!set(d) || format != Format::nhwc || type != DataType::f32 || n < 1 || c < 1 || h < 1 || w < 1) return bad;
  d->e = {n, c, h, w};
  return Status::success;
}
Status cudnnCreateFilterDescriptor(Filter* d) { return create("cudnnCreateFilterDescriptor", d); }
Status cudnnDestroyFilterDescriptor(Filter d) { return destroy("cudnnDestroyFilterDescriptor", d); }
Status cudnnSetFilter4dDescriptor(Filter d, DataType type, Format format, int k, int c, int h, int w) {
  TENON_ENTER("cudnnSetFilter4dDescriptor");
  if (!set(d) || format != Format::nhwc || type != DataType::f32 || k < 1 || c < 1 || h < 1 || w < 1) return bad;
  d->e = {k, c, h, w};
  return Status::success;
}
Status cudnnCreateConvolutionDescriptor(Convolution* d) { return create("cudnnCreateConvolutionDescriptor", d); }
Status cudnnDestroyConvolutionDescriptor(Convolution d) { return destroy("cudnnDestroyConvolutionDescriptor", d); }
Status cudnnSetConvolution2dDescriptor(Convolution d, int pad_h, int pad_w, int stride_h, int stride_w, int dilation_h,
                                       int dilation_w, Mode, DataType type) {
  TENON_ENTER("cudnnSetConvolution2dDescriptor");
  if (!set(d) || type != DataType::f32 || pad_h < 0 || pad_w < 0 || stride_h < 1 || stride_w < 1) return bad;
  *d = {true, pad_h, pad_w, stride_h, stride_w, dilation_h, dilation_w};
  return Status::success;
}
Status cudnnSetConvolutionGroupCount(Convolution d, int groups) {
  TENON_ENTER("cudnnSetConvolutionGroupCount");
  used(d, "cudnnSetConvolutionGroupCount").groups = groups;
  return Status::success;
}
Status cudnnSetConvolutionMathType(Convolution d, MathType math) {
  TENON_ENTER("cudnnSetConvolutionMathType");
  used(d, "cudnnSetConvolutionMathType").math = math;
  return Status::success;
}
Status cudnnCreatePoolingDescriptor(Pooling* d) { return create("cudnnCreatePoolingDescriptor", d); }
Status cudnnDestroyPoolingDescriptor(Pooling d) { return destroy("cudnnDestroyPoolingDescriptor", d); }
Status cudnnSetPooling2dDescriptor(Pooling d, PoolingMode mode, Nan nan, int window_h, int window_w, int pad_h,
                                   int pad_w, int stride_h, int stride_w) {
  TENON_ENTER("cudnnSetPooling2dDescriptor");
  if (!set(d) || mode != PoolingMode::average_exclude_padding || nan != Nan::propagate) return bad;
  *d = {true, window_h, window_w, pad_h, pad_w, stride_h, stride_w};
  return Status::success;
}
Status cudnnCreateActivationDescriptor(Activation* d) { return create("cudnnCreateActivationDescriptor", d); }
Status cudnnDestroyActivationDescriptor(Activation d) { return destroy("cudnnDestroyActivationDescriptor", d); }
Status cudnnSetActivationDescriptor(Activation d, ActivationMode mode, Nan nan, double coefficient) {
  TENON_ENTER("cudnnSetActivationDescriptor");
  if (!set(d) || nan != Nan::propagate) return bad;
  *d = {true, mode, coefficient};
  return Status::success;
}
Status cudnnCreateOpTensorDescriptor(TensorOp* d) { return create("cudnnCreateOpTensorDescriptor", d); }
Status cudnnDestroyOpTensorDescriptor(TensorOp d) { return destroy("cudnnDestroyOpTensorDescriptor", d); }
Status cudnnSetOpTensorDescriptor(TensorOp d, TensorOpMode mode, DataType type, Nan nan) {
  TENON_ENTER("cudnnSetOpTensorDescriptor");
  return set(d) && mode == TensorOpMode::add && type == DataType::f32 && nan == Nan::propagate ? Status::success : bad;
}

Status cudnnPoolingForward(Handle h, Pooling p, const void* alpha, Tensor dx, const void* x, const void* beta,
                           Tensor dy, void* y) {
  TENON_ENTER("cudnnPoolingForward");
  check_work(h, alpha, beta, "cudnnPoolingForward");
  const Extents from = used(dx, "cudnnPoolingForward").e, to = used(dy, "cudnnPoolingForward").e;
  std::vector<double> sums(static_cast<std::size_t>(to.elements()));
  const Status s =
      for_each_tap(used(p, "cudnnPoolingForward"), from, to, [&](std::int64_t ix, std::int64_t iy, int taps) {
        sums[static_cast<std::size_t>(iy)] += static_cast<double>(floats(x)[ix]) / taps;
      });
  for (std::size_t i = 0; i < sums.size(); ++i) floats(y)[i] = static_cast<float>(sums[i]);
  return s;
}
Status cudnnPoolingBackward(Handle h, Pooling p, const void* alpha, Tensor dy, const void* y, Tensor dgy,
                            const void* gy, Tensor dx, const void* x, const void* beta, Tensor dgx, void* gx) {
  TENON_ENTER("cudnnPoolingBackward");
  check_work(h, alpha, beta, "cudnnPoolingBackward");
  const Extents to = used(dgx, "cudnnPoolingBackward").e, from = used(dgy, "cudnnPoolingBackward").e;
  if (used(dx, "cudnnPoolingBackward").e != to || used(dy, "cudnnPoolingBackward").e != from) return bad;
  if (x == nullptr || y == nullptr) return bad;
  std::vector<double> sums(static_cast<std::size_t>(to.elements()));
  const Status s =
      for_each_tap(used(p, "cudnnPoolingBackward"), to, from, [&](std::int64_t ix, std::int64_t iy, int taps) {
        sums[static_cast<std::size_t>(ix)] += static_cast<double>(floats(gy)[iy]) / taps;
      });
  for (std::size_t i = 0; i < sums.size(); ++i) floats(gx)[i] = static_cast<float>(sums[i]);
  return s;
}

Status cudnnActivationForward(Handle h, Activation a, const void* alpha, Tensor dx, const void* x, const void* beta,
                              Tensor dy, void* y) {
  TENON_ENTER("cudnnActivationForward");
  check_work(h, alpha, beta, "cudnnActivationForward");
  const ActivationTag& f = used(a, "cudnnActivationForward");
  const Extents e = used(dx, "cudnnActivationForward").e;
  if (used(dy, "cudnnActivationForward").e != e) return bad;
  for (std::int64_t i = 0; i < e.elements(); ++i) {
    const auto v = static_cast<double>(floats(x)[i]);
    double r = v <= 0 ? 0 : v;
    if (f.mode == ActivationMode::sigmoid) r = 1 / (1 + std::exp(-v));
    if (f.mode == ActivationMode::tanh) r = std::tanh(v);
    if (f.mode == ActivationMode::elu) r = v <= 0 ? f.coefficient * std::expm1(v) : v;
    floats(y)[i] = static_cast<float>(r);
  }
  return Status::success;
}
Status cudnnActivationBackward(Handle h, Activation a, const void* alpha, Tensor dy, const void* y, Tensor dgy,
                               const void* gy, Tensor dx, const void* x, const void* beta, Tensor dgx, void* gx) {
  TENON_ENTER("cudnnActivationBackward");
  check_work(h, alpha, beta, "cudnnActivationBackward");
  const ActivationTag& f = used(a, "cudnnActivationBackward");
  const Extents e = used(dx, "cudnnActivationBackward").e;
  for (const Tensor d : {dy, dgy, dgx})
    if (used(d, "cudnnActivationBackward").e != e) return bad;
  for (std::int64_t i = 0; i < e.elements(); ++i) {
    const double g = static_cast<double>(floats(gy)[i]), v = static_cast<double>(floats(y)[i]);
    const bool dead = floats(x)[i] <= 0.f;
    double r = dead ? 0 : g;
    if (f.mode == ActivationMode::sigmoid) r = g * v * (1 - v);
    if (f.mode == ActivationMode::tanh) r = g * (1 - v * v);
    if (f.mode == ActivationMode::elu) r = dead ? g * (v + f.coefficient) : g;
    floats(gx)[i] = static_cast<float>(r);
  }
  return Status::success;
}

Status cudnnSoftmaxForward(Handle h, SoftmaxAlgorithm algorithm, SoftmaxMode mode, const void* alpha, Tensor dx,
                           const void* x, const void* beta, Tensor dy, void* y) {
  TENON_ENTER("cudnnSoftmaxForward");
  check_work(h, alpha, beta, "cudnnSoftmaxForward");
  const Extents e = used(dx, "cudnnSoftmaxForward").e;
  if (used(dy, "cudnnSoftmaxForward").e != e || mode != SoftmaxMode::instance) return bad;
  const std::int64_t width = e.elements() / e.n;
  for (int n = 0; n < e.n; ++n) {
    const float* row = floats(x) + n * width;
    const auto largest = static_cast<double>(*std::max_element(row, row + width));
    double sum = 0;
    for (std::int64_t i = 0; i < width; ++i) sum += std::exp(static_cast<double>(row[i]) - largest);
    for (std::int64_t i = 0; i < width; ++i) {
      const double v = static_cast<double>(row[i]) - largest;
      floats(y)[n * width + i] =
          static_cast<float>(algorithm == SoftmaxAlgorithm::log ? v - std::log(sum) : std::exp(v) / sum);
    }
  }
  return Status::success;
}
Status cudnnSoftmaxBackward(Handle h, SoftmaxAlgorithm algorithm, SoftmaxMode mode, const void* alpha, Tensor dy,
                            const void* y, Tensor dgy, const void* gy, const void* beta, Tensor dgx, void* gx) {
  TENON_ENTER("cudnnSoftmaxBackward");
  check_work(h, alpha, beta, "cudnnSoftmaxBackward");
  const Extents e = used(dy, "cudnnSoftmaxBackward").e;
  if (used(dgy, "cudnnSoftmaxBackward").e != e || used(dgx, "cudnnSoftmaxBackward").e != e ||
      mode != SoftmaxMode::instance)
    return bad;
  const std::int64_t width = e.elements() / e.n;
  const bool log = algorithm == SoftmaxAlgorithm::log;
  for (int n = 0; n < e.n; ++n) {
    const float *row = floats(y) + n * width, *gradient = floats(gy) + n * width;
    double sum = 0;
    for (std::int64_t i = 0; i < width; ++i)
      sum += static_cast<double>(gradient[i]) * (log ? 1. : static_cast<double>(row[i]));
    for (std::int64_t i = 0; i < width; ++i) {
      const double g = static_cast<double>(gradient[i]), v = static_cast<double>(row[i]);
      floats(gx)[n * width + i] = static_cast<float>(log ? g - std::exp(v) * sum : v * (g - sum));
    }
  }
  return Status::success;
}

Status cudnnOpTensor(Handle h, TensorOp op, const void* alpha, Tensor da, const void* a, const void* alpha2, Tensor db,
                     const void* b, const void* beta, Tensor dc, void* c) {
  TENON_ENTER("cudnnOpTensor");
  check_work(h, alpha, beta, "cudnnOpTensor");
  used(op, "cudnnOpTensor");
  const Extents e = used(da, "cudnnOpTensor").e, bias = used(db, "cudnnOpTensor").e;
  if (used(dc, "cudnnOpTensor").e != e || bias != Extents{1, e.c, 1, 1} || *floats(alpha2) != 1.f) return bad;
  for (std::int64_t i = 0; i < e.elements(); ++i) floats(c)[i] = floats(a)[i] + floats(b)[i % e.c];
  return Status::success;
}

}  // extern "C"
#pragma GCC visibility pop
