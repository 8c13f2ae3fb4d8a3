// The table of the libraries' rows. Products are cuBLAS', and listed under both names, so that `cuda.cudnn` has a row for all that
// a model spends its time in. Convolutions need both libraries.
#include "kernels/cuda/library_rows.hpp"

#include "kernels/cuda/cublas_product.hpp"
#include "kernels/cuda/cudnn_rows.hpp"
#include "kernels/cuda/module_device.hpp"

namespace tenon::cuda {
namespace {

constexpr const char *dnn = "cuda.cudnn", *blas = "cuda.cublas";

template <class Op>
void add(Libraries& l, const char* provider, Precision precision,
         bool (*bind)(Device*, const Problem&, LibraryStep*, Text*)) {
  l.rows[l.row_count++] = {op::kind_of<Op>, provider, precision, bind};
}

template <Precision P>
void add_products(Libraries& l, const char* provider) {
  add<op::MatMul>(l, provider, P, bind_cublas_product<op::MatMul, P>);
  add<op::MatMulGradA>(l, provider, P, bind_cublas_product<op::MatMulGradA, P>);
  add<op::MatMulGradB>(l, provider, P, bind_cublas_product<op::MatMulGradB, P>);
}
template <Precision P>
void add_contractions(Libraries& l) {
  add<op::Conv2d>(l, dnn, P, bind_cudnn_convolution<op::Conv2d, P>);
  add<op::Conv2dGradInput>(l, dnn, P, bind_cudnn_convolution<op::Conv2dGradInput, P>);
  add<op::Conv2dGradFilter>(l, dnn, P, bind_cudnn_convolution<op::Conv2dGradFilter, P>);
  add_products<P>(l, dnn);
}

/// The less exact rows of a provider stand first, as in every table.
void add_rows(Libraries& l) {
  if (l.has_dnn && l.has_blas) {
    add_contractions<Precision::tf32>(l);
    add_contractions<Precision::fp32>(l);
  }
  if (l.has_dnn) {
    add<op::Pool2d>(l, dnn, Precision::fp32, bind_cudnn_pool2d);
    add<op::Pool2dGrad>(l, dnn, Precision::fp32, bind_cudnn_pool2d_grad);
    add<op::Softmax>(l, dnn, Precision::fp32, bind_cudnn_softmax);
    add<op::SoftmaxGrad>(l, dnn, Precision::fp32, bind_cudnn_softmax_grad);
    add<op::Unary>(l, dnn, Precision::fp32, bind_cudnn_unary);
    add<op::UnaryGrad>(l, dnn, Precision::fp32, bind_cudnn_unary_grad);
    add<op::BiasAdd>(l, dnn, Precision::fp32, bind_cudnn_bias_add);
    add<op::BiasGrad>(l, dnn, Precision::fp32, bind_cudnn_bias_grad);
  }
  if (l.has_blas) {
    add_products<Precision::tf32>(l, blas);
    add_products<Precision::fp32>(l, blas);
  }
}

}  // namespace

std::int32_t library_rows(Device* d, const LibraryRow** rows, Text* missing) {
  *rows = nullptr;
  if (d->libraries == nullptr) {
    d->libraries = open_libraries(d->ordinal);
    if (d->libraries == nullptr) {
      refuse(missing, "cuDNN and cuBLAS: no memory on the host");
      return 0;
    }
    add_rows(*d->libraries);
  }
  *rows = d->libraries->rows;
  *missing = d->libraries->missing;
  return d->libraries->row_count;
}

void close_libraries(Device* d) {
  close_libraries(d->libraries);
  d->libraries = nullptr;
}

bool take_library_failure(Device* d, Text* text) {
  if (d->libraries == nullptr || !d->libraries->failed) return false;
  *text = d->libraries->failure;
  d->libraries->failed = false;
  return true;
}

}  // namespace tenon::cuda
