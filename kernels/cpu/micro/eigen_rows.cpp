// The softmax family and the count of correct answers, one row of (rows, cols) at a time as Eigen array expressions,
// sums in Eigen's order. Formulas, the treatment of NaN and of labels out of range are those of
// kernels/cpu/micro/rows.cpp. Threads own rows.
#include "kernels/cpu/micro/eigen_core.hpp"

namespace tenon::cpu::TENON_ISA::eigen_rows {
namespace {

constexpr float nan = __builtin_nanf("");

TENON_INLINE std::int64_t label_of(const RowsGeometry& g, const void* labels, std::int64_t row) {
  return g.labels == DType::u8 ? static_cast<const std::uint8_t*>(labels)[row]
                               : static_cast<const std::int32_t*>(labels)[row];
}
TENON_INLINE bool inside(const RowsGeometry& g, std::int64_t label) { return label >= 0 && label < g.cols; }

/// Notes the first label out of range, before the threads start: every run notes the same one.
void check_labels(const RowsGeometry& g, const void* labels, Control* control) {
  for (std::int64_t row = 0; row < g.rows; ++row) {
    const std::int64_t label = label_of(g, labels, row);
    if (inside(g, label)) continue;
    if ((control->halt & Control::bad_index) == 0) control->bad_value = label;
    control->halt |= Control::bad_index;
    return;
  }
}

TENON_INLINE float largest_of(In row) {
  return row.size() == 0 ? -__builtin_inff() : row.maxCoeff<Eigen::PropagateNaN>();
}

/// Where the first largest element is; -1 where there is a NaN.
TENON_INLINE std::int64_t first_largest(In row) {
  if (row.size() == 0) return -1;
  Eigen::Index at = 0;
  const float largest = row.maxCoeff<Eigen::PropagateNaN>(&at);
  return largest == largest ? at : -1;
}

}  // namespace

void softmax(const Call& call) {
  const auto& g = geometry<RowsGeometry>(call);
  const float* in = input<float>(call, 0);
  float* out = output<float>(call, 0);
  for_each_row(call, g, [&](std::int64_t row) {
    const In x(in + row * g.cols, g.cols);
    Out y(out + row * g.cols, g.cols);
    const float max = largest_of(x);
    if (g.log) {
      const float log_total = __builtin_logf((x - max).exp().sum());
      y = (x - max) - log_total;
    } else {
      y = (x - max).exp();
      y /= y.sum();
    }
  });
}

void softmax_grad(const Call& call) {
  const auto& g = geometry<RowsGeometry>(call);
  const float *gradient = input<float>(call, 0), *saved = input<float>(call, 1);
  float* out = output<float>(call, 0);
  for_each_row(call, g, [&](std::int64_t row) {
    const In gy(gradient + row * g.cols, g.cols), y(saved + row * g.cols, g.cols);
    Out gx(out + row * g.cols, g.cols);
    const float total = g.log ? gy.sum() : (gy * y).sum();
    if (g.log)
      gx = gy - y.exp() * total;
    else
      gx = y * (gy - total);
  });
}

void softmax_crossentropy(const Call& call) {
  const auto& g = geometry<RowsGeometry>(call);
  const float* logits = input<float>(call, 0);
  const bool dense = g.labels == DType::f32;
  float *loss = output<float>(call, 0), *probabilities = output<float>(call, 1);
  if (!dense) check_labels(g, call.in[1], call.control);
  for_each_row(call, g, [&](std::int64_t row) {
    const In x(logits + row * g.cols, g.cols);
    Out p(probabilities + row * g.cols, g.cols);
    const float max = largest_of(x);
    p = (x - max).exp();
    const float total = p.sum(), log_total = __builtin_logf(total);
    p /= total;
    if (dense) {
      loss[row] = (In(input<float>(call, 1) + row * g.cols, g.cols) * (log_total - (x - max))).sum();
    } else {
      const std::int64_t label = label_of(g, call.in[1], row);
      loss[row] = inside(g, label) ? log_total - (x[label] - max) : nan;
    }
  });
}

void softmax_crossentropy_grad(const Call& call) {
  const auto& g = geometry<RowsGeometry>(call);
  const float *gloss = input<float>(call, 0), *probabilities = input<float>(call, 1);
  float* out = output<float>(call, 0);
  for_each_row(call, g, [&](std::int64_t row) {
    const In p(probabilities + row * g.cols, g.cols);
    Out gx(out + row * g.cols, g.cols);
    if (g.labels == DType::f32) {
      const In t(input<float>(call, 2) + row * g.cols, g.cols);
      const float total = t.sum();
      gx = (p * total - t) * gloss[row];
      return;
    }
    const std::int64_t label = label_of(g, call.in[2], row);
    if (!inside(g, label)) {
      gx.setConstant(nan);
      return;
    }
    gx = p * gloss[row];
    gx[label] = (p[label] - 1.f) * gloss[row];
  });
}

void correct(const Call& call) {
  const auto& g = geometry<RowsGeometry>(call);
  const float* scores = input<float>(call, 0);
  const bool dense = g.labels == DType::f32;
  float* out = output<float>(call, 0);
  if (!dense) check_labels(g, call.in[1], call.control);
  for_each_row(call, g, [&](std::int64_t row) {
    const std::int64_t best = first_largest(In(scores + row * g.cols, g.cols));
    const std::int64_t label =
        dense ? first_largest(In(input<float>(call, 1) + row * g.cols, g.cols)) : label_of(g, call.in[1], row);
    out[row] = inside(g, label) && best == label ? 1.f : 0.f;
  });
}

}  // namespace tenon::cpu::TENON_ISA::eigen_rows
