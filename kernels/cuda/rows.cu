// softmax                    y = e / sum e, e = exp(x - max of the row); log: y = (x - max) - ln sum e
// softmax_grad               gx = y (gy - sum gy y); log: gx = gy - e^y sum gy
// softmax_crossentropy       loss = ln sum e - (x_label - max), probabilities as softmax; with a dense target t
//                            loss = sum t (ln sum e - (x - max))
// softmax_crossentropy_grad  gx = (p - onehot) g; dense: (p sum t - t) g
// correct                    1 where the row's first largest score is at the label (dense: at the first largest of t)
// Half a warp has a row of up to 128 elements, a block a longer one (row_team.cuh). Sums over a row in canonical order.
// A NaN anywhere makes its whole row NaN, and not correct. A label outside [0, columns) is reported in Control; its
// loss is NaN, it is not correct.
#include "kernels/common/geometry.hpp"
#include "kernels/cuda/elementwise.cuh"
#include "kernels/cuda/labels.cuh"
#include "kernels/cuda/loops.hpp"
#include "kernels/cuda/row_team.cuh"

namespace tenon::cuda {
namespace {

__device__ inline float exp_of(float x) { return math::exp<math::Scalar>(x); }
__device__ inline float log_of(float x) { return math::log<math::Scalar>(x); }

template <class Team>
__device__ float max_of(Team& team, const float* x, std::int64_t columns) {
  float m = Max::identity;
  team.for_each(columns, [&](std::int64_t j) { m = Max::step(m, x[j]); });
  return team.template fold<Max>(m);
}

/// Where the first largest element is; `nowhere` where there is a NaN or no element.
template <class Team>
__device__ std::int64_t first_largest(Team& team, const float* x, std::int64_t columns) {
  const float m = max_of(team, x, columns);
  std::int64_t at = nowhere;
  team.for_each(columns, [&](std::int64_t j) {
    if (x[j] == m && j < at) at = j;
  });
  return team.first(at);
}

/// e into y; their sum.
template <class Team>
__device__ float exponentials(Team& team, const float* x, float m, std::int64_t columns, float* y) {
  return team.template chain<Sum>(columns, [=](std::int64_t j) {
    const float e = exp_of(x[j] - m);
    y[j] = e;
    return e;
  });
}
template <class Team>
__device__ void divide(Team& team, float* y, std::int64_t columns, float by) {
  team.for_each(columns, [&](std::int64_t j) { y[j] = y[j] / by; });
}

template <bool log>
struct Softmax {
  std::int64_t columns;
  const float* in;
  float* out;

  template <class Team>
  __device__ void operator()(Team& team, std::int64_t row) const {
    const float* x = in + row * columns;
    float* y = out + row * columns;
    const float m = max_of(team, x, columns);
    if constexpr (log) {
      const float s = team.template chain<Sum>(columns, [=](std::int64_t j) { return exp_of(x[j] - m); });
      const float log_s = log_of(s);
      team.for_each(columns, [&](std::int64_t j) { y[j] = (x[j] - m) - log_s; });
    } else {
      divide(team, y, columns, exponentials(team, x, m, columns, y));
    }
  }
};

template <bool log>
struct SoftmaxGrad {
  std::int64_t columns;
  const float *gradient, *saved;
  float* out;

  template <class Team>
  __device__ void operator()(Team& team, std::int64_t row) const {
    const float *gy = gradient + row * columns, *y = saved + row * columns;
    float* gx = out + row * columns;
    if constexpr (log) {
      const float s = team.template chain<Sum>(columns, [=](std::int64_t j) { return gy[j]; });
      team.for_each(columns, [&](std::int64_t j) { gx[j] = gy[j] - exp_of(y[j]) * s; });
    } else {
      const float s = team.template chain<SumOfProducts>(columns, [=](std::int64_t j) { return Factors{gy[j], y[j]}; });
      team.for_each(columns, [&](std::int64_t j) { gx[j] = y[j] * (gy[j] - s); });
    }
  }
};

template <bool dense>
struct CrossEntropy {
  RowsGeometry g;
  const float* logits;
  const void* target;
  float *loss, *probabilities;
  Control* control;

  template <class Team>
  __device__ void operator()(Team& team, std::int64_t row) const {
    const float* x = logits + row * g.cols;
    float* p = probabilities + row * g.cols;
    const float m = max_of(team, x, g.cols), s = exponentials(team, x, m, g.cols, p), log_s = log_of(s);
    divide(team, p, g.cols, s);
    if constexpr (dense) {
      const float* t = static_cast<const float*>(target) + row * g.cols;
      const float sum = team.template chain<SumOfProducts>(g.cols, [=](std::int64_t j) {
        return Factors{t[j], log_s - (x[j] - m)};
      });
      if (team.leader()) loss[row] = sum;
    } else if (team.leader()) {
      const std::int64_t label = label_at(target, g.labels, row);
      if (!inside(label, g.cols)) report_index(label, control);
      loss[row] = inside(label, g.cols) ? log_s - (x[label] - m) : __builtin_nanf("");
    }
  }
};

template <bool dense>
struct CrossEntropyGrad {
  RowsGeometry g;
  const float *gloss, *probabilities;
  const void* target;
  float* out;

  template <class Team>
  __device__ void operator()(Team& team, std::int64_t row) const {
    const float* p = probabilities + row * g.cols;
    float* gx = out + row * g.cols;
    const float scale = gloss[row];
    if constexpr (dense) {
      const float* t = static_cast<const float*>(target) + row * g.cols;
      const float total = team.template chain<Sum>(g.cols, [=](std::int64_t j) { return t[j]; });
      team.for_each(g.cols, [&](std::int64_t j) { gx[j] = (p[j] * total - t[j]) * scale; });
    } else {
      const std::int64_t label = label_at(target, g.labels, row);
      team.for_each(g.cols, [&](std::int64_t j) { gx[j] = (p[j] - (j == label ? 1.f : 0.f)) * scale; });
    }
  }
};

template <bool dense>
struct Correct {
  RowsGeometry g;
  const float* scores;
  const void* target;
  float* out;
  Control* control;

  template <class Team>
  __device__ void operator()(Team& team, std::int64_t row) const {
    const std::int64_t predicted = first_largest(team, scores + row * g.cols, g.cols);
    std::int64_t label = 0;
    if constexpr (dense) {
      label = first_largest(team, static_cast<const float*>(target) + row * g.cols, g.cols);
    } else {
      label = label_at(target, g.labels, row);
      if (team.leader() && !inside(label, g.cols)) report_index(label, control);
    }
    if (team.leader()) out[row] = predicted != nowhere && predicted == label ? 1.f : 0.f;
  }
};

}  // namespace

void softmax(const Call& call) {
  const auto& g = state_of<RowsGeometry>(call);
  const float* x = input<float>(call, 0);
  float* y = output<float>(call, 0);
  if (g.log)
    for_each_row(call, g.rows, g.cols, Softmax<true>{g.cols, x, y});
  else
    for_each_row(call, g.rows, g.cols, Softmax<false>{g.cols, x, y});
}

void softmax_grad(const Call& call) {
  const auto& g = state_of<RowsGeometry>(call);
  const float *gy = input<float>(call, 0), *y = input<float>(call, 1);
  float* gx = output<float>(call, 0);
  if (g.log)
    for_each_row(call, g.rows, g.cols, SoftmaxGrad<true>{g.cols, gy, y, gx});
  else
    for_each_row(call, g.rows, g.cols, SoftmaxGrad<false>{g.cols, gy, y, gx});
}

void softmax_crossentropy(const Call& call) {
  const auto& g = state_of<RowsGeometry>(call);
  const float* x = input<float>(call, 0);
  float *loss = output<float>(call, 0), *p = output<float>(call, 1);
  if (g.labels == DType::f32)
    for_each_row(call, g.rows, g.cols, CrossEntropy<true>{g, x, call.in[1], loss, p, call.control});
  else
    for_each_row(call, g.rows, g.cols, CrossEntropy<false>{g, x, call.in[1], loss, p, call.control});
}

void softmax_crossentropy_grad(const Call& call) {
  const auto& g = state_of<RowsGeometry>(call);
  const float *gloss = input<float>(call, 0), *p = input<float>(call, 1);
  float* gx = output<float>(call, 0);
  if (g.labels == DType::f32)
    for_each_row(call, g.rows, g.cols, CrossEntropyGrad<true>{g, gloss, p, call.in[2], gx});
  else
    for_each_row(call, g.rows, g.cols, CrossEntropyGrad<false>{g, gloss, p, call.in[2], gx});
}

void correct(const Call& call) {
  const auto& g = state_of<RowsGeometry>(call);
  const float* scores = input<float>(call, 0);
  float* out = output<float>(call, 0);
  if (g.labels == DType::f32)
    for_each_row(call, g.rows, g.cols, Correct<true>{g, scores, call.in[1], out, call.control});
  else
    for_each_row(call, g.rows, g.cols, Correct<false>{g, scores, call.in[1], out, call.control});
}

}  // namespace tenon::cuda
