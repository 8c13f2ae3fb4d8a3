// Error bounds of the softmax family: operations on rows, whose error depends on how far an element lies below the
// largest of its row and on the size of the row's sum.
#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "lib/train/error_bound.hpp"

namespace tenon::bound {
namespace {

/// Rows of (n, c): what the bounds of the softmax family need.
struct Row {
  double largest = -std::numeric_limits<double>::infinity(), log_sum = 0;
};
Row row_of(std::span<const double> x) {
  Row r;
  for (const double v : x) r.largest = std::max(r.largest, v);
  double sum = 0;
  for (const double v : x) sum += std::exp(v - r.largest);
  r.log_sum = r.largest + std::log(sum);
  return r;
}

/// One element of a softmax or its logarithm.
double softmax_error(double x, const Row& r, double columns, bool log) {
  const double depth = std::abs(x - r.largest) + std::log2(columns) + 5;
  return 4 * u * (log ? depth + 2 * std::abs(r.log_sum) : depth);
}

/// t of row n, column j: a label's indicator or a probability.
double target(const Array& t, std::int64_t n, std::int64_t j, std::int64_t columns) {
  if (t.dtype() == DType::f64) return t.at(n * columns + j);
  return static_cast<std::int64_t>(t.at(n)) == j ? 1 : 0;
}

}  // namespace

Array softmax(const Array& logits, const Array& y, bool log) {
  const auto columns = static_cast<std::size_t>(logits.shape()[-1]);
  const auto x = f64(logits), v = f64(y);
  Array bounds(DType::f64, y.shape());
  auto b = bounds.values<double>();
  for (std::size_t first = 0; first < x.size(); first += columns) {
    const Row r = row_of(x.subspan(first, columns));
    for (std::size_t i = first; i < first + columns; ++i)
      b[i] = softmax_error(x[i], r, static_cast<double>(columns), log) * (log ? 1. : std::abs(v[i])) + floor_;
  }
  return bounds;
}

std::vector<Array> softmax_gradient(const Work& w, bool log) {
  const auto columns = static_cast<std::size_t>(w.in[0].shape()[-1]);
  const auto g = f64(w.in[0]), y = f64(w.in[1]);
  Array bounds(DType::f64, w.exact[0].shape());
  auto b = bounds.values<double>();
  for (std::size_t first = 0; first < g.size(); first += columns) {
    double sum = 0;
    for (std::size_t i = first; i < first + columns; ++i) sum += std::abs(g[i]) * (log ? 1. : std::abs(y[i]));
    for (std::size_t i = first; i < first + columns; ++i)
      b[i] = w.sum_factor() * (log ? std::abs(g[i]) + std::exp(y[i]) * sum : std::abs(y[i]) * (std::abs(g[i]) + sum)) +
             floor_;
  }
  return {bounds};
}

std::vector<Array> crossentropy(const Work& w) {
  const auto columns = w.in[0].shape()[-1];
  const auto x = f64(w.in[0]);
  Array loss(DType::f64, w.exact[0].shape());
  for (std::int64_t n = 0; n < loss.size(); ++n) {
    const auto line = x.subspan(static_cast<std::size_t>(n * columns), static_cast<std::size_t>(columns));
    const Row r = row_of(line);
    double sum = 0;
    for (std::int64_t j = 0; j < columns; ++j) {
      const double xj = line[static_cast<std::size_t>(j)];
      sum += std::abs(target(w.in[1], n, j, columns)) *
             (softmax_error(xj, r, static_cast<double>(columns), true) + w.sum_factor() * std::abs(r.log_sum - xj));
    }
    loss.values<double>()[static_cast<std::size_t>(n)] = sum + floor_;
  }
  return {loss, softmax(w.in[0], w.exact[1], false)};
}

std::vector<Array> crossentropy_gradient(const Work& w) {
  const std::int64_t columns = w.in[1].shape()[-1];
  const bool labels = w.in[2].dtype() != DType::f64;
  std::vector<double> totals;  // of a row's target
  for (std::int64_t n = 0; n < w.in[0].size(); ++n) {
    double total = labels ? 1 : 0;
    for (std::int64_t k = 0; !labels && k < columns; ++k) total += std::abs(w.in[2].at(n * columns + k));
    totals.push_back(total);
  }
  return {map(w.exact[0], [&](std::size_t i) {
    const auto n = static_cast<std::int64_t>(i) / columns, j = static_cast<std::int64_t>(i) % columns;
    const double p = std::abs(w.in[1].at(static_cast<std::int64_t>(i)));
    const double size = p * totals[static_cast<std::size_t>(n)] + std::abs(target(w.in[2], n, j, columns));
    return w.sum_factor() * std::abs(w.in[0].at(n)) * size + floor_;
  })};
}

}  // namespace tenon::bound
