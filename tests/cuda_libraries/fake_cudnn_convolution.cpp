// Convolutions of the fake cuDNN: what its heuristics offer, and loops from the descriptors. Filters are (k, kh, kw, c/groups).
#include "tests/cuda_libraries/fake_cudnn.hpp"

using namespace tenon::cuda::cudnn;
using namespace tenon::fake;

namespace {

/// The extents of one convolution, wherever its descriptors come from.
struct Shapes {
  Extents x, filter, y;
  ConvolutionTag conv;
};
bool shapes(Shapes& s, Tensor x, Filter f, Convolution c, Tensor y, const char* where) {
  s = {used(x, where).e, used(f, where).e, used(y, where).e, used(c, where)};
  const auto windows = [](int extent, int pad, int taps, int dilation, int stride) {
    return (extent + 2 * pad - ((taps - 1) * dilation + 1)) / stride + 1;
  };
  return s.x.n == s.y.n && s.filter.n == s.y.c && s.filter.c * s.conv.groups == s.x.c && s.y.c % s.conv.groups == 0 &&
         s.y.h == windows(s.x.h, s.conv.pad_h, s.filter.h, s.conv.dilation_h, s.conv.stride_h) &&
         s.y.w == windows(s.x.w, s.conv.pad_w, s.filter.w, s.conv.dilation_w, s.conv.stride_w);
}

/// An odd number of bytes that depends on everything, none for the first algorithm.
std::size_t announced(const Shapes& s, int algorithm) {
  if (algorithm == cudnn().huge_algorithm) return std::size_t{2} << 30;
  return algorithm == 0 ? 0 : static_cast<std::size_t>(1001 + 37 * algorithm + s.x.elements() % 97);
}

/// Calls term(index in x, in the filter, in y).
template <class Term>
void for_each_term(const Shapes& s, const Term& term) {
  const int per_group = s.y.c / s.conv.groups;
  for (int n = 0; n < s.y.n; ++n)
    for (int oy = 0; oy < s.y.h; ++oy)
      for (int ox = 0; ox < s.y.w; ++ox)
        for (int k = 0; k < s.y.c; ++k)
          for (int ky = 0; ky < s.filter.h; ++ky)
            for (int kx = 0; kx < s.filter.w; ++kx) {
              const int iy = oy * s.conv.stride_h - s.conv.pad_h + ky * s.conv.dilation_h;
              const int ix = ox * s.conv.stride_w - s.conv.pad_w + kx * s.conv.dilation_w;
              if (iy < 0 || iy >= s.x.h || ix < 0 || ix >= s.x.w) continue;
              for (int c = 0; c < s.filter.c; ++c)
                term(s.x.at(n, iy, ix, k / per_group * s.filter.c + c), s.filter.at(k, ky, kx, c),
                     s.y.at(n, oy, ox, k));
            }
}

/// A list that begins with everything that must not be taken.
Status offer(int winograd, int fft, const Shapes& s, int asked, int* returned, Performance* list) {
  std::vector<Performance> offers = cudnn().offers;
  const MathType math = s.conv.math;
  constexpr auto exact = Determinism::deterministic, loose = Determinism::non_deterministic;
  if (offers.empty())
    offers = {{winograd, Status::success, 1, 100, exact, math, {}},
              {fft, Status::success, 2, 100, exact, math, {}},
              {1, unsupported, -1, 0, exact, math, {}},
              {0, Status::success, 3, 0, loose, math, {}},
              {1, Status::success, 4, 9, exact, MathType::tensor_op_allow_conversion, {}},
              {1, Status::success, 5, 9, exact, MathType::default_math, {}},
              {1, Status::success, 6, 9, exact, MathType::fma, {}}};
  *returned = 0;
  for (const Performance& p : offers)
    if (*returned < asked) list[(*returned)++] = p;
  return Status::success;
}

Status workspace_size(const Shapes& s, int algorithm, std::size_t* bytes) {
  *bytes = announced(s, algorithm);
  return Status::success;
}

/// What all three runs check.
Status check(Handle h, const void* alpha, const void* beta, const Shapes& s, int algorithm, void* workspace,
             std::size_t bytes, const char* where) {
  check_work(h, alpha, beta, where);
  cudnn().calls.back() +=
      " algorithm " + std::to_string(algorithm) + " math " + std::to_string(static_cast<int>(s.conv.math));
  const std::size_t needed = announced(s, algorithm);
  if (bytes < needed) return bad;
  if (needed == 0) return Status::success;
  if (!aligned(workspace)) cudnn().fault(std::string(where) + ": a workspace that is not aligned");
  std::memset(workspace, 0xff, needed);
  return Status::success;
}

/// Products as the math type makes them.
double factor(const void* memory, std::int64_t i, MathType math) {
  const float v = static_cast<const float*>(memory)[i];
  return static_cast<double>(math == MathType::fma ? v : to_tf32(v));
}
void store(const std::vector<double>& sums, void* memory) {
  for (std::size_t i = 0; i < sums.size(); ++i) static_cast<float*>(memory)[i] = static_cast<float>(sums[i]);
}
std::vector<double> zeros(const Extents& e) { return std::vector<double>(static_cast<std::size_t>(e.elements())); }
double& at(std::vector<double>& v, std::int64_t i) { return v[static_cast<std::size_t>(i)]; }

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

Status cudnnGetConvolutionForwardAlgorithm_v7(Handle, Tensor x, Filter f, Convolution c, Tensor y, int asked,
                                              int* returned, Performance* list) {
  TENON_ENTER("cudnnGetConvolutionForwardAlgorithm_v7");
  Shapes s;
  return shapes(s, x, f, c, y, "forward algorithms") ? offer(7, 4, s, asked, returned, list) : bad;
}
Status cudnnGetConvolutionBackwardDataAlgorithm_v7(Handle, Filter f, Tensor y, Convolution c, Tensor x, int asked,
                                                   int* returned, Performance* list) {
  TENON_ENTER("cudnnGetConvolutionBackwardDataAlgorithm_v7");
  Shapes s;
  return shapes(s, x, f, c, y, "data algorithms") ? offer(4, 2, s, asked, returned, list) : bad;
}
Status cudnnGetConvolutionBackwardFilterAlgorithm_v7(Handle, Tensor x, Tensor y, Convolution c, Filter f, int asked,
                                                     int* returned, Performance* list) {
  TENON_ENTER("cudnnGetConvolutionBackwardFilterAlgorithm_v7");
  Shapes s;
  return shapes(s, x, f, c, y, "filter algorithms") ? offer(5, 6, s, asked, returned, list) : bad;
}
Status cudnnGetConvolutionForwardWorkspaceSize(Handle, Tensor x, Filter f, Convolution c, Tensor y, ForwardAlgorithm a,
                                               std::size_t* bytes) {
  TENON_ENTER("cudnnGetConvolutionForwardWorkspaceSize");
  Shapes s;
  return shapes(s, x, f, c, y, "forward workspace") ? workspace_size(s, static_cast<int>(a), bytes) : bad;
}
Status cudnnGetConvolutionBackwardDataWorkspaceSize(Handle, Filter f, Tensor y, Convolution c, Tensor x,
                                                    DataAlgorithm a, std::size_t* bytes) {
  TENON_ENTER("cudnnGetConvolutionBackwardDataWorkspaceSize");
  Shapes s;
  return shapes(s, x, f, c, y, "data workspace") ? workspace_size(s, static_cast<int>(a), bytes) : bad;
}
Status cudnnGetConvolutionBackwardFilterWorkspaceSize(Handle, Tensor x, Tensor y, Convolution c, Filter f,
                                                      FilterAlgorithm a, std::size_t* bytes) {
  TENON_ENTER("cudnnGetConvolutionBackwardFilterWorkspaceSize");
  Shapes s;
  return shapes(s, x, f, c, y, "filter workspace") ? workspace_size(s, static_cast<int>(a), bytes) : bad;
}

Status cudnnConvolutionForward(Handle h, const void* alpha, Tensor dx, const void* x, Filter df, const void* f,
                               Convolution c, ForwardAlgorithm a, void* workspace, std::size_t bytes, const void* beta,
                               Tensor dy, void* y) {
  TENON_ENTER("cudnnConvolutionForward");
  Shapes s;
  if (!shapes(s, dx, df, c, dy, "cudnnConvolutionForward")) return bad;
  const Status status = check(h, alpha, beta, s, static_cast<int>(a), workspace, bytes, "cudnnConvolutionForward");
  if (status != Status::success) return status;
  std::vector<double> sums = zeros(s.y);
  for_each_term(s, [&](std::int64_t ix, std::int64_t jf, std::int64_t iy) {
    at(sums, iy) += factor(x, ix, s.conv.math) * factor(f, jf, s.conv.math);
  });
  store(sums, y);
  return Status::success;
}
Status cudnnConvolutionBackwardData(Handle h, const void* alpha, Filter df, const void* f, Tensor dy, const void* gy,
                                    Convolution c, DataAlgorithm a, void* workspace, std::size_t bytes,
                                    const void* beta, Tensor dx, void* gx) {
  TENON_ENTER("cudnnConvolutionBackwardData");
  Shapes s;
  if (!shapes(s, dx, df, c, dy, "cudnnConvolutionBackwardData")) return bad;
  const Status status = check(h, alpha, beta, s, static_cast<int>(a), workspace, bytes, "cudnnConvolutionBackwardData");
  if (status != Status::success) return status;
  std::vector<double> sums = zeros(s.x);
  for_each_term(s, [&](std::int64_t ix, std::int64_t jf, std::int64_t iy) {
    at(sums, ix) += factor(gy, iy, s.conv.math) * factor(f, jf, s.conv.math);
  });
  store(sums, gx);
  return Status::success;
}
Status cudnnConvolutionBackwardFilter(Handle h, const void* alpha, Tensor dx, const void* x, Tensor dy, const void* gy,
                                      Convolution c, FilterAlgorithm a, void* workspace, std::size_t bytes,
                                      const void* beta, Filter df, void* gf) {
  TENON_ENTER("cudnnConvolutionBackwardFilter");
  Shapes s;
  if (!shapes(s, dx, df, c, dy, "cudnnConvolutionBackwardFilter")) return bad;
  const Status status =
      check(h, alpha, beta, s, static_cast<int>(a), workspace, bytes, "cudnnConvolutionBackwardFilter");
  if (status != Status::success) return status;
  std::vector<double> sums = zeros(s.filter);
  for_each_term(s, [&](std::int64_t ix, std::int64_t jf, std::int64_t iy) {
    at(sums, jf) += factor(gy, iy, s.conv.math) * factor(x, ix, s.conv.math);
  });
  store(sums, gf);
  return Status::success;
}
Status cudnnConvolutionBackwardBias(Handle h, const void* alpha, Tensor dy, const void* gy, const void* beta, Tensor db,
                                    void* gb) {
  TENON_ENTER("cudnnConvolutionBackwardBias");
  check_work(h, alpha, beta, "cudnnConvolutionBackwardBias");
  const Extents e = used(dy, "cudnnConvolutionBackwardBias").e;
  if (used(db, "cudnnConvolutionBackwardBias").e != Extents{1, e.c, 1, 1}) return bad;
  std::vector<double> sums(static_cast<std::size_t>(e.c));
  for (std::int64_t i = 0; i < e.elements(); ++i)
    at(sums, i % e.c) += static_cast<double>(static_cast<const float*>(gy)[i]);
  store(sums, gb);
  return Status::success;
}

}  // extern "C"
#pragma GCC visibility pop

#define TENON_SAME(name) static_assert(std::is_same_v<decltype(&cudnn##name), decltype(Functions{}.name)>)
TENON_SAME(GetConvolutionForwardAlgorithm_v7);
TENON_SAME(GetConvolutionBackwardDataAlgorithm_v7);
TENON_SAME(GetConvolutionBackwardFilterAlgorithm_v7);
TENON_SAME(GetConvolutionForwardWorkspaceSize);
TENON_SAME(GetConvolutionBackwardDataWorkspaceSize);
TENON_SAME(GetConvolutionBackwardFilterWorkspaceSize);
TENON_SAME(ConvolutionForward);
TENON_SAME(ConvolutionBackwardData);
TENON_SAME(ConvolutionBackwardFilter);
TENON_SAME(ConvolutionBackwardBias);
