// softmax                    y = e / sum e, e = exp(x - max of the row); log: y = (x - max) - ln sum e
// softmax_grad               gx = y (gy - sum gy y); log: gx = gy - e^y sum gy
// softmax_crossentropy       loss = ln sum e - (x_label - max), probabilities as softmax; with a dense target t
//                            loss = sum t (ln sum e - (x - max))
// softmax_crossentropy_grad  gx = (p - onehot) g; dense: (p sum t - t) g
// correct                    1 where the row's first largest score is at the label (dense: at the first largest of t)
// Sums over a row in canonical order (row_reduce.hpp). A NaN anywhere makes its whole row NaN, and not correct. A label
// outside [0, cols) is reported in Control; its loss is NaN, it is not correct. Threads own rows.
#include "kernels/common/math.hpp"
#include "kernels/cpu/micro/row_reduce.hpp"

namespace tenon::cpu::TENON_ISA {
namespace {

constexpr float not_a_number = __builtin_nanf("");

TENON_INLINE float log_of(float x) { return math::log<Simd>(Simd::set(x))[0]; }

/// e = exp(x - max) into `to` where given; their sum.
TENON_INLINE float exponentials(const float* x, std::int64_t cols, float max, float* to) {
  return row_sum(
      cols, [&](std::int64_t i, auto lanes) __attribute__((always_inline)) {
        const Vf e = math::exp<Simd>(lanes.load(x + i) - max);
        if (to != nullptr) lanes.store(to + i, e);
        return e;
      });
}

TENON_INLINE void divide(float* y, std::int64_t cols, float by) {
  for_each_lanes(cols, [&](std::int64_t i, auto lanes) { lanes.store(y + i, lanes.load(y + i) / by); });
}

TENON_INLINE float dot(const float* a, const float* b, std::int64_t cols) {
  return row_chain(
      cols, [&](Vf acc, std::int64_t i, auto lanes)
                __attribute__((always_inline)) { return Simd::fma(lanes.load(a + i), lanes.load(b + i), acc); });
}
TENON_INLINE float sum(const float* a, std::int64_t cols) {
  return row_sum(
      cols, [&](std::int64_t i, auto lanes) __attribute__((always_inline)) { return lanes.load(a + i); });
}

/// Integer labels of either width.
class Labels {
 public:
  TENON_MEMBER Labels(const RowsGeometry& g, const void* labels) : g_(g), labels_(labels) {}
  TENON_MEMBER std::int64_t operator[](std::int64_t row) const {
    return g_.labels == DType::u8 ? static_cast<const std::uint8_t*>(labels_)[row]
                                  : static_cast<const std::int32_t*>(labels_)[row];
  }
  TENON_MEMBER bool valid(std::int64_t label) const { return label >= 0 && label < g_.cols; }
  /// Notes the first label out of range. Before the threads start, so that the note does not depend on them.
  TENON_MEMBER void check(Control* control) const {
    for (std::int64_t row = 0; row < g_.rows; ++row) {
      const std::int64_t label = (*this)[row];
      if (valid(label)) continue;
      if ((control->halt & Control::bad_index) == 0) control->bad_value = label;
      control->halt |= Control::bad_index;
      return;
    }
  }

 private:
  const RowsGeometry& g_;
  const void* labels_;
};

/// Where the first largest element is; -1 where there is a NaN.
TENON_INLINE std::int64_t first_largest(const float* t, std::int64_t cols) {
  const float max = row_max(cols, t);
  for (std::int64_t i = 0; i < cols; ++i) {
    if (t[i] == max) return i;
  }
  return -1;
}

/// True if every score before `at` is smaller and every one behind it is not larger.
TENON_INLINE bool wins(const float* score, std::int64_t cols, std::int64_t at) {
  const Vf best = Simd::set(score[at]);
  Vi beaten = Simd::set_int(0);
  for_each_lanes(cols, [&](std::int64_t i, auto lanes) {
    const Vf v = lanes.load(score + i);
    const Vi index = Simd::lane_index() + static_cast<std::int32_t>(i);
    const Vi before = index < static_cast<std::int32_t>(at), inside = index < static_cast<std::int32_t>(cols);
    // Written as "not smaller", so that NaN beats.
    beaten |= ~((before & (v < best)) | (~before & (v <= best))) & inside;
  });
  return !Simd::any(beaten);
}

}  // namespace

void softmax(const Call& call) {
  const auto& g = geometry<RowsGeometry>(call);
  const float* in = input<float>(call, 0);
  float* out = output<float>(call, 0);
  for_each_row(call, g, [&](std::int64_t row) {
    const float* x = in + row * g.cols;
    float* y = out + row * g.cols;
    const float max = row_max(g.cols, x), total = exponentials(x, g.cols, max, g.log ? nullptr : y);
    if (!g.log) return divide(y, g.cols, total);
    const float log_total = log_of(total);
    for_each_lanes(g.cols,
                   [&](std::int64_t i, auto lanes) { lanes.store(y + i, (lanes.load(x + i) - max) - log_total); });
  });
}

void softmax_grad(const Call& call) {
  const auto& g = geometry<RowsGeometry>(call);
  const float *gradient = input<float>(call, 0), *saved = input<float>(call, 1);
  float* out = output<float>(call, 0);
  for_each_row(call, g, [&](std::int64_t row) {
    const float *gy = gradient + row * g.cols, *y = saved + row * g.cols;
    float* gx = out + row * g.cols;
    const Vf total = Simd::set(g.log ? sum(gy, g.cols) : dot(gy, y, g.cols));
    for_each_lanes(g.cols, [&](std::int64_t i, auto lanes) {
      const Vf a = lanes.load(gy + i), b = lanes.load(y + i);
      lanes.store(gx + i, g.log ? a - math::exp<Simd>(b) * total : b * (a - total));
    });
  });
}

void softmax_crossentropy(const Call& call) {
  const auto& g = geometry<RowsGeometry>(call);
  const float* logits = input<float>(call, 0);
  const bool dense = g.labels == DType::f32;
  const Labels labels(g, call.in[1]);
  float *loss = output<float>(call, 0), *probabilities = output<float>(call, 1);
  if (!dense) labels.check(call.control);
  for_each_row(call, g, [&](std::int64_t row) {
    const float* x = logits + row * g.cols;
    float* p = probabilities + row * g.cols;
    const float max = row_max(g.cols, x), total = exponentials(x, g.cols, max, p), log_total = log_of(total);
    divide(p, g.cols, total);
    if (dense) {
      const float* t = input<float>(call, 1) + row * g.cols;
      loss[row] = row_chain(
          g.cols, [&](Vf acc, std::int64_t i, auto lanes) __attribute__((always_inline)) {
            return Simd::fma(lanes.load(t + i), log_total - (lanes.load(x + i) - max), acc);
          });
    } else {
      const std::int64_t label = labels[row];
      loss[row] = labels.valid(label) ? log_total - (x[label] - max) : not_a_number;
    }
  });
}

void softmax_crossentropy_grad(const Call& call) {
  const auto& g = geometry<RowsGeometry>(call);
  const float *gloss = input<float>(call, 0), *probabilities = input<float>(call, 1);
  const bool dense = g.labels == DType::f32;
  const Labels labels(g, call.in[2]);
  float* out = output<float>(call, 0);
  for_each_row(call, g, [&](std::int64_t row) {
    const float* p = probabilities + row * g.cols;
    float* gx = out + row * g.cols;
    if (dense) {
      const float* t = input<float>(call, 2) + row * g.cols;
      const Vf total = Simd::set(sum(t, g.cols));
      for_each_lanes(g.cols, [&](std::int64_t i, auto lanes) {
        lanes.store(gx + i, (lanes.load(p + i) * total - lanes.load(t + i)) * gloss[row]);
      });
    } else {
      const std::int64_t label = labels[row];
      const float scale = gloss[row], at_label = labels.valid(label) ? (p[label] - 1.f) * scale : 0.f;
      for_each_lanes(g.cols, [&](std::int64_t i, auto lanes) { lanes.store(gx + i, lanes.load(p + i) * scale); });
      if (labels.valid(label)) gx[label] = at_label;
    }
  });
}

void correct(const Call& call) {
  const auto& g = geometry<RowsGeometry>(call);
  const float* scores = input<float>(call, 0);
  const bool dense = g.labels == DType::f32;
  const Labels labels(g, call.in[1]);
  float* out = output<float>(call, 0);
  if (!dense) labels.check(call.control);
  for_each_row(call, g, [&](std::int64_t row) {
    const std::int64_t label = dense ? first_largest(input<float>(call, 1) + row * g.cols, g.cols) : labels[row];
    out[row] = labels.valid(label) && wins(scores + row * g.cols, g.cols, label) ? 1.f : 0.f;
  });
}

}  // namespace tenon::cpu::TENON_ISA
