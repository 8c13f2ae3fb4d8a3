// The sum over absolute values of conv2d by F(4x4, 3x3), as kernels/cpu/micro/conv2d_winograd.cpp computes it: its
// transforms cancel large numbers, so that the error is a share of |A^T| (sum of |G||g||G^T| |B^T||d||B|) |A| and not of
// sum |x w|. Matrices: Lavin, Gray 2016, "Fast algorithms for convolutional neural networks".
#include <algorithm>
#include <array>
#include <cmath>

#include "lib/train/error_bound.hpp"

namespace tenon::bound {
namespace {

constexpr int side = 6, outputs = 4;
constexpr double input_matrix[side][side] = {{4, 0, 5, 0, 1, 0}, {0, 4, 4, 1, 1, 0}, {0, 4, 4, 1, 1, 0},
                                             {0, 2, 1, 2, 1, 0}, {0, 2, 1, 2, 1, 0}, {0, 4, 0, 5, 0, 1}};
constexpr double filter_matrix[side][3] = {{1. / 4, 0, 0},
                                           {1. / 6, 1. / 6, 1. / 6},
                                           {1. / 6, 1. / 6, 1. / 6},
                                           {1. / 24, 1. / 12, 1. / 6},
                                           {1. / 24, 1. / 12, 1. / 6},
                                           {0, 0, 1}};
constexpr double output_matrix[outputs][side] = {
    {1, 1, 1, 1, 1, 0}, {0, 1, 1, 2, 2, 0}, {0, 1, 1, 4, 4, 0}, {0, 1, 1, 8, 8, 1}};

/// M a M^T for a (n,n), M (m,n).
template <int m, int n>
std::array<double, m * m> both_sides(const double (&matrix)[m][n], const std::array<double, n * n>& a) {
  std::array<double, m * n> half{};
  std::array<double, m * m> out{};
  for (int i = 0; i < m; ++i)
    for (int j = 0; j < n; ++j)
      for (int k = 0; k < n; ++k) half[i * n + j] += matrix[i][k] * a[k * n + j];
  for (int i = 0; i < m; ++i)
    for (int j = 0; j < m; ++j)
      for (int k = 0; k < n; ++k) out[i * m + j] += half[i * n + k] * matrix[j][k];
  return out;
}

}  // namespace

bool winograd_takes(const op::Conv2d& o, const Shape& filter) {
  return filter[0] == 3 && filter[1] == 3 && o.stride.h == 1 && o.stride.w == 1 && o.dilation.h == 1 &&
         o.dilation.w == 1 && o.groups == 1;
}

Array winograd_sums(const op::Conv2d& o, const Array& x, const Array& filter, const Shape& y) {
  const Shape& in = x.shape();
  const std::int64_t channels = in[3], filters = filter.shape()[3];
  const auto xs = f64(x), ws = f64(filter);
  std::vector<std::array<double, side * side>> turned(static_cast<std::size_t>(channels * filters));
  for (std::int64_t c = 0; c < channels; ++c)
    for (std::int64_t k = 0; k < filters; ++k) {
      std::array<double, 9> g{};
      for (std::size_t t = 0; t < 9; ++t)
        g[t] =
            std::abs(ws[t * static_cast<std::size_t>(channels * filters) + static_cast<std::size_t>(c * filters + k)]);
      turned[static_cast<std::size_t>(c * filters + k)] = both_sides(filter_matrix, g);
    }
  Array sums(DType::f64, y);
  auto to = sums.values<double>();
  std::vector<std::array<double, side * side>> v(static_cast<std::size_t>(channels));
  for (std::int64_t n = 0; n < y[0]; ++n)
    for (std::int64_t oy = 0; oy < y[1]; oy += outputs)
      for (std::int64_t ox = 0; ox < y[2]; ox += outputs) {
        for (std::int64_t c = 0; c < channels; ++c) {
          std::array<double, side * side> d{};
          for (std::int64_t r = 0; r < side; ++r)
            for (std::int64_t s = 0; s < side; ++s) {
              const std::int64_t iy = oy + r - o.pad.top, ix = ox + s - o.pad.left;
              if (iy < 0 || iy >= in[1] || ix < 0 || ix >= in[2]) continue;
              d[static_cast<std::size_t>(r * side + s)] =
                  std::abs(xs[static_cast<std::size_t>(((n * in[1] + iy) * in[2] + ix) * channels + c)]);
            }
          v[static_cast<std::size_t>(c)] = both_sides(input_matrix, d);
        }
        for (std::int64_t k = 0; k < filters; ++k) {
          std::array<double, side * side> m{};
          for (std::int64_t c = 0; c < channels; ++c)
            for (std::size_t i = 0; i < m.size(); ++i)
              m[i] += turned[static_cast<std::size_t>(c * filters + k)][i] * v[static_cast<std::size_t>(c)][i];
          const auto tile = both_sides(output_matrix, m);
          for (std::int64_t r = 0; r < outputs && oy + r < y[1]; ++r)
            for (std::int64_t s = 0; s < outputs && ox + s < y[2]; ++s)
              to[static_cast<std::size_t>(((n * y[1] + oy + r) * y[2] + ox + s) * filters + k)] =
                  tile[static_cast<std::size_t>(r * outputs + s)];
        }
      }
  return sums;
}

}  // namespace tenon::bound
