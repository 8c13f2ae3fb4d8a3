// Everything of cuDNN's but convolutions: average pooling, softmax, activations and biases. No row needs a workspace.
//   pool2d       the mean of the taps inside. Of a maximum cuDNN keeps no winner, and its gradient reads x and y, which ours has
//                not; so both are refused
//   unary_grad   from y: cuDNN asks for x too and takes y in its place, since the sign of either is the other's
//   bias_add     one call of cudnnOpTensor: cudnnAddTensor would add to what y already holds
#include "kernels/cuda/cudnn_rows.hpp"
#include "kernels/cuda/module_device.hpp"

namespace tenon::cuda {
namespace {

struct Layer {
  Libraries* libraries = nullptr;
  Descriptor<cudnn::Tensor> x, y;  // of the forward operation
  Descriptor<cudnn::Tensor> bias;
  Descriptor<cudnn::Pooling> pooling;
  Descriptor<cudnn::Activation> activation;
  Descriptor<cudnn::TensorOp> op;
  cudnn::SoftmaxAlgorithm softmax = cudnn::SoftmaxAlgorithm::accurate;
};

/// A run: the layer with its library, once that knows the stream. `call` is cuDNN's part of it.
template <auto Part>
void run(const Call& call) {
  const auto& layer = state_of<Layer>(call);
  Libraries& l = *layer.libraries;
  const std::lock_guard lock(l.mutex);
  if (l.ran(l.dnn.SetStream(l.dnn_handle, stream_of(call)), "cudnnSetStream")) Part(layer, l, call);
}

/// Binding: describe(layer, calls) makes the descriptors.
template <class Describe>
bool bind(Device* d, const Problem& p, RunFn run, LibraryStep* step, Text* why, const Describe& describe) {
  if (!takes_operands(p, why) || !have_handles(*d->libraries, true, false, why)) return false;
  auto* layer = new (std::nothrow) Layer;
  if (layer == nullptr) return refuse(why, "no memory on the host");
  layer->libraries = d->libraries;
  Calls calls(*d->libraries, why);
  describe(*layer, calls);
  if (!calls.ok()) {
    delete layer;
    return false;
  }
  give(step, layer, run, 0);
  return true;
}

constexpr const char* tensor_call = "cudnnSetTensor4dDescriptor";

// --- average pooling ---------------------------------------------------------------------------------------------------
bool bind_pooling(Device* d, const Problem& p, const op::Pool2d& o, const TensorSpec& x, const TensorSpec& y, RunFn run,
                  LibraryStep* step, Text* why) {
  if (o.fn == op::PoolFn::max) return refuse(why, "keeps no winners of a maximum, which the gradient is made from");
  const op::Pad& pad = o.pad;
  if (!pads_alike(extent(x, 1), pad.top, o.window.h, o.stride.h, extent(y, 1)) ||
      !pads_alike(extent(x, 2), pad.left, o.window.w, o.stride.w, extent(y, 2)))
    return refuse_padding(why);
  if (pad.top >= o.window.h || pad.left >= o.window.w) return refuse(why, "pads less than a window, found more");
  return bind(d, p, run, step, why, [&](Layer& layer, Calls& calls) {
    const Libraries& l = *layer.libraries;
    calls.add(make_tensor(l, layer.x, extent(x, 0), extent(x, 1), extent(x, 2), extent(x, 3)), tensor_call);
    calls.add(make_tensor(l, layer.y, extent(y, 0), extent(y, 1), extent(y, 2), extent(y, 3)), tensor_call);
    calls.add(
        layer.pooling.make(l.dnn.CreatePoolingDescriptor, l.dnn.DestroyPoolingDescriptor, l.dnn.SetPooling2dDescriptor,
                           cudnn::PoolingMode::average_exclude_padding, cudnn::Nan::propagate, o.window.h, o.window.w,
                           pad.top, pad.left, o.stride.h, o.stride.w),
        "cudnnSetPooling2dDescriptor");
  });
}
void pool(const Layer& layer, Libraries& l, const Call& call) {
  l.ran(l.dnn.PoolingForward(l.dnn_handle, layer.pooling.get(), &one, layer.x.get(), call.in[0], &zero, layer.y.get(),
                             call.out[0]),
        "cudnnPoolingForward");
}
/// A mean's gradient reads neither x nor y, but cuDNN wants them: memory of their sizes is gx and gy.
void pool_grad(const Layer& layer, Libraries& l, const Call& call) {
  l.ran(l.dnn.PoolingBackward(l.dnn_handle, layer.pooling.get(), &one, layer.y.get(), call.in[0], layer.y.get(),
                              call.in[0], layer.x.get(), call.out[0], &zero, layer.x.get(), call.out[0]),
        "cudnnPoolingBackward");
}

// --- softmax, over the last axis -----------------------------------------------------------------------------------------
bool bind_softmax(Device* d, const Problem& p, bool log, RunFn run, LibraryStep* step, Text* why) {
  return bind(d, p, run, step, why, [&](Layer& layer, Calls& calls) {
    const TensorSpec& x = p.in[0];
    layer.softmax = log ? cudnn::SoftmaxAlgorithm::log : cudnn::SoftmaxAlgorithm::accurate;
    calls.add(make_tensor(*layer.libraries, layer.x, extents(x, 0, x.shape.rank() - 1), 1, 1, extent(x, -1)),
              tensor_call);
  });
}
void softmax(const Layer& layer, Libraries& l, const Call& call) {
  l.ran(l.dnn.SoftmaxForward(l.dnn_handle, layer.softmax, cudnn::SoftmaxMode::instance, &one, layer.x.get(), call.in[0],
                             &zero, layer.x.get(), call.out[0]),
        "cudnnSoftmaxForward");
}
void softmax_grad(const Layer& layer, Libraries& l, const Call& call) {
  l.ran(l.dnn.SoftmaxBackward(l.dnn_handle, layer.softmax, cudnn::SoftmaxMode::instance, &one, layer.x.get(),
                              call.in[1], layer.x.get(), call.in[0], &zero, layer.x.get(), call.out[0]),
        "cudnnSoftmaxBackward");
}

// --- activations -----------------------------------------------------------------------------------------------------------
bool bind_activation(Device* d, const Problem& p, const op::Unary& o, RunFn run, LibraryStep* step, Text* why) {
  using Mode = cudnn::ActivationMode;
  Mode mode = Mode::relu;
  switch (o.fn) {
    case op::UnaryFn::relu:
      break;
    case op::UnaryFn::sigmoid:
      mode = Mode::sigmoid;
      break;
    case op::UnaryFn::tanh:
      mode = Mode::tanh;
      break;
    case op::UnaryFn::elu:
      // Else y has not the sign of x, and the gradient takes one for the other.
      if (!(o.alpha > 0.f))
        return refuse(why, "takes elu with a positive alpha, found %g", static_cast<double>(o.alpha));
      mode = Mode::elu;
      break;
    default:
      return refuse(why, "takes relu, sigmoid, tanh and elu, found another function");
  }
  return bind(d, p, run, step, why, [&](Layer& layer, Calls& calls) {
    const Libraries& l = *layer.libraries;
    calls.add(make_tensor(l, layer.x, 1, 1, extents(p.in[0], 0, p.in[0].shape.rank()), 1), tensor_call);
    calls.add(
        layer.activation.make(l.dnn.CreateActivationDescriptor, l.dnn.DestroyActivationDescriptor,
                              l.dnn.SetActivationDescriptor, mode, cudnn::Nan::propagate, static_cast<double>(o.alpha)),
        "cudnnSetActivationDescriptor");
  });
}
void unary(const Layer& layer, Libraries& l, const Call& call) {
  l.ran(l.dnn.ActivationForward(l.dnn_handle, layer.activation.get(), &one, layer.x.get(), call.in[0], &zero,
                                layer.x.get(), call.out[0]),
        "cudnnActivationForward");
}
void unary_grad(const Layer& layer, Libraries& l, const Call& call) {
  const void *gy = call.in[0], *y = call.in[1];
  l.ran(l.dnn.ActivationBackward(l.dnn_handle, layer.activation.get(), &one, layer.x.get(), y, layer.x.get(), gy,
                                 layer.x.get(), y, &zero, layer.x.get(), call.out[0]),
        "cudnnActivationBackward");
}

// --- bias --------------------------------------------------------------------------------------------------------------------
/// (n, ..., c) as the image (n, everything between, 1, c).
bool bind_bias(Device* d, const Problem& p, RunFn run, LibraryStep* step, Text* why) {
  return bind(d, p, run, step, why, [&](Layer& layer, Calls& calls) {
    const Libraries& l = *layer.libraries;
    const TensorSpec& x = p.in[0];
    const int last = x.shape.rank() - 1;
    const std::int64_t n = last > 0 ? extent(x, 0) : 1, inner = last > 0 ? extents(x, 1, last) : 1;
    calls.add(make_tensor(l, layer.x, n, inner, 1, extent(x, last)), tensor_call);
    calls.add(make_tensor(l, layer.bias, 1, 1, 1, extent(x, last)), tensor_call);
    calls.add(
        layer.op.make(l.dnn.CreateOpTensorDescriptor, l.dnn.DestroyOpTensorDescriptor, l.dnn.SetOpTensorDescriptor,
                      cudnn::TensorOpMode::add, cudnn::DataType::f32, cudnn::Nan::propagate),
        "cudnnSetOpTensorDescriptor");
  });
}
void bias_add(const Layer& layer, Libraries& l, const Call& call) {
  l.ran(l.dnn.OpTensor(l.dnn_handle, layer.op.get(), &one, layer.x.get(), call.in[0], &one, layer.bias.get(),
                       call.in[1], &zero, layer.x.get(), call.out[0]),
        "cudnnOpTensor");
}
void bias_grad(const Layer& layer, Libraries& l, const Call& call) {
  l.ran(l.dnn.ConvolutionBackwardBias(l.dnn_handle, &one, layer.x.get(), call.in[0], &zero, layer.bias.get(),
                                      call.out[0]),
        "cudnnConvolutionBackwardBias");
}

}  // namespace

bool bind_cudnn_pool2d(Device* d, const Problem& p, LibraryStep* step, Text* why) {
  return bind_pooling(d, p, p.as<op::Pool2d>(), p.in[0], p.out[0], run<pool>, step, why);
}
bool bind_cudnn_pool2d_grad(Device* d, const Problem& p, LibraryStep* step, Text* why) {
  return bind_pooling(d, p, p.as<op::Pool2dGrad>().forward, p.out[0], p.in[0], run<pool_grad>, step, why);
}
bool bind_cudnn_softmax(Device* d, const Problem& p, LibraryStep* step, Text* why) {
  return bind_softmax(d, p, p.as<op::Softmax>().log, run<softmax>, step, why);
}
bool bind_cudnn_softmax_grad(Device* d, const Problem& p, LibraryStep* step, Text* why) {
  return bind_softmax(d, p, p.as<op::SoftmaxGrad>().log, run<softmax_grad>, step, why);
}
bool bind_cudnn_unary(Device* d, const Problem& p, LibraryStep* step, Text* why) {
  return bind_activation(d, p, p.as<op::Unary>(), run<unary>, step, why);
}
bool bind_cudnn_unary_grad(Device* d, const Problem& p, LibraryStep* step, Text* why) {
  return bind_activation(d, p, p.as<op::UnaryGrad>().forward, run<unary_grad>, step, why);
}
bool bind_cudnn_bias_add(Device* d, const Problem& p, LibraryStep* step, Text* why) {
  return bind_bias(d, p, run<bias_add>, step, why);
}
bool bind_cudnn_bias_grad(Device* d, const Problem& p, LibraryStep* step, Text* why) {
  return bind_bias(d, p, run<bias_grad>, step, why);
}

}  // namespace tenon::cuda
