// gradcheck: one traced graph, evaluated in f64 by the reference at shifted inputs. The truncation error of the 4-point
// quotient is h^4 f'''''/30 and its rounding eps |f| / h, which h = eps^(1/5) balances at about 1e-12.
#include "tenon/gradcheck.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "lib/passes/passes.hpp"
#include "lib/runtime/run_graph.hpp"
#include "tenon/error.hpp"
#include "tenon/ops.hpp"

namespace tenon {
namespace {

constexpr double eps = std::numeric_limits<double>::epsilon();

bool floating(const Array& a) { return a.dtype() == DType::f32 || a.dtype() == DType::f64; }

/// f as a graph from inputs to one scalar, and its value and gradient anywhere.
class Scalar {
 public:
  Scalar(const TensorFunction& f, const std::vector<Array>& inputs, std::uint64_t seed) {
    options_.device = "cpu";
    options_.providers = "reference";
    options_.threads = 1;
    options_.seed = seed;
    options_.dtype = DType::f64;
    graph_.training = true;
    graph_.dtype = DType::f64;
    std::vector<Tensor> tensors;
    for (const Array& a : inputs)
      tensors.push_back(
          graph_.input(fmt::format("x{}", tensors.size()), {floating(a) ? DType::f64 : a.dtype(), a.shape()}));
    Tensor y = f(tensors);
    if (!y || &y.graph() != &graph_)
      throw UsageError("[gradcheck] the function expects to return a tensor made from its operands");
    if (y.shape().elements() != 1) y = sum(y * graph_.constant(weights(y.shape(), seed)));
    loss_ = y.id();
    for (std::size_t i = 0; i < inputs.size(); ++i)
      if (floating(inputs[i])) wrt_.push_back(tensors[i].id());
  }

  [[nodiscard]] double value(const std::vector<Array>& x) const {
    return run_graph(graph_, {loss_}, x, options_).at(0).at(0);
  }

  /// One array for each floating input; zeros where the result does not depend on it.
  [[nodiscard]] std::vector<Array> gradient(const std::vector<Array>& x) const {
    Graph g = graph_;
    const std::vector<ValueId> ids = differentiate(g, loss_, wrt_);
    std::vector<ValueId> wanted;
    for (const ValueId v : ids)
      if (v != no_value) wanted.push_back(v);
    std::vector<Array> values = wanted.empty() ? std::vector<Array>{} : run_graph(g, wanted, x, options_);
    std::vector<Array> result;
    std::size_t next = 0;
    for (std::size_t i = 0; i < ids.size(); ++i)
      result.push_back(ids[i] != no_value ? values[next++] : Array(DType::f64, graph_.spec(wrt_[i]).shape));
    return result;
  }

 private:
  static Array weights(const Shape& shape, std::uint64_t seed) {
    std::mt19937_64 rng(seed + 0x9E37);
    std::uniform_real_distribution<double> draw(0.5, 1.5);
    Array w(DType::f64, shape);
    for (double& v : w.values<double>()) v = rng() % 2 == 0 ? draw(rng) : -draw(rng);
    return w;
  }

  Graph graph_;
  Options options_;
  ValueId loss_ = no_value;
  std::vector<ValueId> wrt_;
};

/// A line through the inputs: component i of input n moves by direction[n][i].
using Direction = std::vector<std::vector<double>>;

/// f at five points of a line.
struct Quotient {
  double derivative = 0, rounding = 0, kink = 0;
};

class Line {
 public:
  Line(const Scalar& f, std::vector<Array> x) : f_(f), x_(std::move(x)), at_(f_.value(x_)) {}

  [[nodiscard]] Quotient along(const Direction& d, double h) {
    const double a = shifted(d, -2 * h), b = shifted(d, -h), c = shifted(d, h), e = shifted(d, 2 * h);
    Quotient q;
    q.derivative = (a - 8 * b + 8 * c - e) / (12 * h);
    const double largest = std::max({std::abs(a), std::abs(b), std::abs(c), std::abs(e)});
    q.rounding = 8 * eps * largest / h;
    // Slopes of a smooth function change steadily over the four intervals: second differences of slopes are h^2 f'''.
    // A kink of size J anywhere in reach makes one of them at least J / 3.
    const double s1 = (b - a) / h, s2 = (at_ - b) / h, s3 = (c - at_) / h, s4 = (e - c) / h;
    q.kink = std::max(std::abs(s3 - 2 * s2 + s1), std::abs(s4 - 2 * s3 + s2));
    return q;
  }

 private:
  double shifted(const Direction& d, double t) {
    std::vector<Array> moved = x_;
    for (std::size_t n = 0; n < d.size(); ++n) {
      if (d[n].empty()) continue;
      moved[n] = x_[n].clone();
      auto v = moved[n].values<double>();
      for (std::size_t i = 0; i < v.size(); ++i) v[i] += t * d[n][i];
    }
    return f_.value(moved);
  }

  const Scalar& f_;
  std::vector<Array> x_;
  double at_;
};

enum class Verdict { right, wrong, kink };

/// Compares along one direction, with ever smaller steps where a kink may lie in reach.
Verdict compare(Line& line, const Direction& d, double analytic, double size, double scale, double tolerance,
                double& error) {
  const double first = std::pow(eps, 0.2) * size;
  bool kinked = false;
  for (const double h : {first, first / 16, first / 256}) {
    const Quotient q = line.along(d, h);
    error = std::abs(q.derivative - analytic);
    if (error <= tolerance * scale + q.rounding) return Verdict::right;
    if (std::isnan(error)) return Verdict::wrong;
    kinked = q.kink > 1e-4 * std::max(scale, std::abs(q.derivative)) + 8 * q.rounding;
    if (!kinked) return Verdict::wrong;
  }
  return Verdict::kink;
}

std::string position(const Shape& shape, std::int64_t index) {
  std::vector<std::int64_t> at(static_cast<std::size_t>(shape.rank()));
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    at[static_cast<std::size_t>(axis)] = index % shape[axis];
    index /= shape[axis];
  }
  return fmt::format("({})", fmt::join(at, ","));
}

/// All coordinates, or a seeded sample in ascending order.
std::vector<std::int64_t> coordinates(std::int64_t size, std::int64_t most, std::mt19937_64& rng) {
  std::vector<std::int64_t> all(static_cast<std::size_t>(size));
  std::iota(all.begin(), all.end(), std::int64_t{0});
  if (size <= most) return all;
  std::vector<std::int64_t> some;
  std::sample(all.begin(), all.end(), std::back_inserter(some), most, rng);
  return some;
}

double largest(const Array& a) {
  double m = 0;
  for (const double v : a.values<double>()) m = std::max(m, std::abs(v));
  return m;
}

class Check {
 public:
  Check(const TensorFunction& f, const std::vector<Array>& inputs, const GradcheckOptions& o)
      : options_(o),
        inputs_(as_f64(inputs)),
        scalar_(f, inputs_, o.seed),
        line_(scalar_, inputs_),
        gradient_(scalar_.gradient(inputs_)),
        rng_(o.seed) {
    for (std::size_t i = 0; i < inputs_.size(); ++i)
      if (floating(inputs_[i])) wrt_.push_back(i);
    at_kink_.resize(inputs_.size());
  }

  GradReport run() {
    for (std::size_t i = 0; i < wrt_.size(); ++i) check_input(i);
    check_directions();
    const auto total = static_cast<double>(report_.checked + report_.skipped);
    const bool too_many = static_cast<double>(report_.skipped) > options_.max_kinks * total;
    report_.ok = wrong_ == 0 && !too_many && report_.checked > 0;
    report_.text = fmt::format(
        "gradcheck {}: {} coordinates and directions checked, {} wrong, {} skipped at kinks{}; worst {:.2e} of "
        "the largest gradient, tolerance {:.0e}\n{}",
        report_.ok ? "ok" : "FAILED", report_.checked, wrong_, report_.skipped,
        too_many ? fmt::format(" (more than {:.0f} %)", 100 * options_.max_kinks) : "", report_.worst,
        options_.tolerance, lines_);
    return report_;
  }

 private:
  static std::vector<Array> as_f64(const std::vector<Array>& inputs) {
    std::vector<Array> out;
    for (const Array& a : inputs) out.push_back(floating(a) ? a.to(DType::f64) : a);
    return out;
  }

  /// Notes one comparison; true unless it lies at a kink.
  bool note(Verdict verdict, double error, double scale) {
    if (verdict == Verdict::kink) {
      ++report_.skipped;
      return false;
    }
    ++report_.checked;
    if (verdict == Verdict::wrong) ++wrong_;
    report_.worst = std::max(report_.worst, scale > 0                                ? error / scale
                                            : error > 0 && verdict == Verdict::wrong ? error
                                                                                     : 0.);
    return true;
  }

  void check_input(std::size_t i) {
    const std::size_t n = wrt_[i];
    const auto x = std::as_const(inputs_[n]).values<double>();
    const auto g = std::as_const(gradient_[i]).values<double>();
    const double scale = largest(gradient_[i]);
    std::vector<std::int64_t>& kinks = at_kink_[n];
    double worst = -1;
    std::string worst_line;
    const std::vector<std::int64_t> some = coordinates(inputs_[n].size(), options_.max_coordinates, rng_);
    for (const std::int64_t c : some) {
      const auto at = static_cast<std::size_t>(c);
      Direction d(inputs_.size());
      d[n].assign(x.size(), 0.);
      d[n][at] = 1;
      double error = 0;
      const Verdict v = compare(line_, d, g[at], std::max(1., std::abs(x[at])), scale, options_.tolerance, error);
      if (!note(v, error, scale)) {
        kinks.push_back(c);
      } else if (!(error <= worst)) {
        worst = std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
        worst_line =
            fmt::format("worst at {}: gradient {:.12g}, off by {:.2e}", position(inputs_[n].shape(), c), g[at], error);
      }
    }
    lines_ += fmt::format("  input {} {}: {} of {} coordinates, {}\n", n, inputs_[n].spec().str(), some.size(),
                          x.size(), worst_line);
    if (kinks.empty()) return;
    std::vector<std::string> names;
    for (const std::int64_t c : kinks) names.push_back(position(inputs_[n].shape(), c));
    lines_ += fmt::format("    skipped at kinks: {}\n", fmt::join(names, " "));
  }

  void check_directions() {
    if (wrt_.empty()) return;
    double scale = 0, size = 1;
    for (const Array& g : gradient_) scale = std::max(scale, largest(g));
    for (const std::size_t n : wrt_) size = std::max(size, largest(inputs_[n]));
    std::vector<int> kinked;
    for (int k = 0; k < options_.directions; ++k) {
      double analytic = 0;
      const Direction d = random_direction(analytic);
      double error = 0;
      if (!note(compare(line_, d, analytic, size, scale, options_.tolerance, error), error, scale)) kinked.push_back(k);
    }
    if (!kinked.empty()) lines_ += fmt::format("  directions skipped at kinks: {}\n", fmt::join(kinked, " "));
  }

  /// Of length 1, leaving out coordinates that lie at a kink; `slope` is the gradient's product with it.
  Direction random_direction(double& slope) {
    std::normal_distribution<double> draw;
    Direction d(inputs_.size());
    double square = 0;
    for (const std::size_t n : wrt_) {
      d[n].resize(static_cast<std::size_t>(inputs_[n].size()));
      for (double& v : d[n]) v = draw(rng_);
      for (const std::int64_t c : at_kink_[n]) d[n][static_cast<std::size_t>(c)] = 0;
      for (const double v : d[n]) square += v * v;
    }
    const double length = square > 0 ? std::sqrt(square) : 1;
    for (std::size_t i = 0; i < wrt_.size(); ++i) {
      const auto g = std::as_const(gradient_[i]).values<double>();
      auto& own = d[wrt_[i]];
      for (std::size_t c = 0; c < own.size(); ++c) {
        own[c] /= length;
        slope += own[c] * g[c];
      }
    }
    return d;
  }

  GradcheckOptions options_;
  std::vector<Array> inputs_;
  Scalar scalar_;
  Line line_;
  std::vector<Array> gradient_;  // of the floating inputs
  std::vector<std::size_t> wrt_;
  std::vector<std::vector<std::int64_t>> at_kink_;
  std::mt19937_64 rng_;
  GradReport report_;
  std::int64_t wrong_ = 0;
  std::string lines_;
};

}  // namespace

void detail::wrong_arity(std::size_t arrays) {
  throw UsageError(fmt::format("[gradcheck] the function expects another number of tensors, found {} arrays", arrays));
}

GradReport gradcheck(const TensorFunction& f, const std::vector<Array>& inputs, const GradcheckOptions& options) {
  if (inputs.empty()) throw UsageError("[gradcheck] expects at least one array, found none");
  return Check(f, inputs, options).run();
}

}  // namespace tenon
