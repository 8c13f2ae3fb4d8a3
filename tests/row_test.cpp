// One row at a time, case after case.
#include "tests/row_test.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <map>

#include "lib/train/row_check.hpp"
#include "tests/cases.hpp"
#include "tests/support/catch.hpp"

namespace tenon::tests {
namespace {

constexpr int usual_cases = 250, most_draws = 12000, nan_cases = 16;
const int least_cases = [] {
  const char* number = std::getenv("TENON_TEST_CASES");
  return number == nullptr ? usual_cases : std::max(std::atoi(number), 1);
}();

const bool with_large_cases = std::getenv("TENON_TEST_SMALL") == nullptr;

/// TENON_TEST_OPS: names of operations between commas; none: all.
bool asked_for(std::string_view op) {
  const char* list = std::getenv("TENON_TEST_OPS");
  if (list == nullptr) return true;
  return fmt::format(",{},", list).find(fmt::format(",{},", op)) != std::string::npos;
}

/// Of an operation's random cases: FNV-1a of its name, so that they stay when others are added to the list.
std::uint64_t seed_of(std::string_view name) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

struct Tally {
  int fixed = 0, executed = 0, refused = 0, near_edge = 0, chunked = 0, many_chunks = 0, integers = 0, failures = 0;
  double worst = 0, seconds = 0;
  std::map<std::string, int> reasons;
};

class RowTest {
 public:
  RowTest(const Kernel& row, Backend& device) : row_(row), device_(device), reference_(row.provider == "reference") {}

  Tally run() {
    const auto begin = std::chrono::steady_clock::now();
    for (const Case& c : cases())
      if (op::kind(c.op) == row_.op) tally_.fixed += try_case(c, 1) ? 1 : 0;
    for (const Case& c : large_cases())
      if (with_large_cases && op::kind(c.op) == row_.op)
        tally_.fixed += try_case(c, static_cast<std::uint64_t>(tally_.fixed)) ? 1 : 0;
    std::mt19937_64 rng(seed_of(op::name_of(row_.op)));
    int draws = 0;
    for (; tally_.executed < least_cases && draws < most_draws; ++draws) {
      const Case c = random_case(row_.op, rng, row_.edges);
      if (!try_case(c, static_cast<std::uint64_t>(draws) + 2)) continue;
      ++tally_.executed;
      tally_.near_edge += c.near_edge ? 1 : 0;
      tally_.chunked += c.chunks > 0 ? 1 : 0;
      tally_.many_chunks += c.chunks > 2 ? 1 : 0;
      tally_.integers += c.integers ? 1 : 0;
    }
    for (int tried = 0; tried < nan_cases; ++draws)
      if (draws >= most_draws || try_nan(random_case(row_.op, rng, row_.edges), static_cast<std::uint64_t>(draws) + 2))
        ++tried;
    if (rounded_operands())
      for (int tried = 0; tried < nan_cases; ++draws)
        if (draws >= most_draws ||
            try_infinity(random_case(row_.op, rng, row_.edges), static_cast<std::uint64_t>(draws) + 2))
          ++tried;
    tally_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    return tally_;
  }

 private:
  [[nodiscard]] bool rounded_operands() const {
    const Arithmetic a = arithmetic_of(row_);
    return a == Arithmetic::split || a == Arithmetic::tf32 || a == Arithmetic::bf16 || a == Arithmetic::fp16;
  }

  /// False where the row refuses.
  bool bind(const Case& c, Problem& p, Step& step) {
    p = make_problem(c.op, c.in);
    p.threads = 4;
    const Bound bound = row_.bind(p, row_);
    if (const auto* refusal = std::get_if<Refusal>(&bound)) {
      ++tally_.refused;
      ++tally_.reasons[refusal->why];
      return false;
    }
    step = std::get<Step>(bound);
    return true;
  }

  bool try_case(const Case& c, std::uint64_t seed) {
    Problem p;
    Step step;
    if (!bind(c, p, step)) return false;
    std::vector<Array> in = make_inputs(c, seed);
    if (std::holds_alternative<op::CheckFinite>(c.op)) in[0].values<float>()[0] = loss_of(seed);
    if (std::holds_alternative<op::UnscaleGrad>(c.op) && seed % 4 == 1)  // and what overflowed is told
      in[0].values<float>()[seed % static_cast<std::uint64_t>(in[0].size())] = loss_of(seed / 4);
    Control control = make_control(seed);
    if (row_.op >= op::kind_of<op::SgdUpdate> && seed % 16 == 5)
      control.halt = Control::not_finite;  // updates do nothing
    const int threads[] = {1, 2, 1, 2, 3, 1, 2, 4};
    const RowRun run = run_row(p, step, in, control, threads[seed % 8], device_);
    report(c, seed, run.fault);
    if (row_.canonical && !reference_) {
      const RowRun expected = run_reference(c.op, in, control);
      report(c, seed, compare_bits(run.out, expected.out).fault);
      if (run.control.halt != expected.control.halt) report(c, seed, "halt differs from the reference's");
    } else {
      check_exact(c, seed, in, control, run);
      if (rounded_operands()) check_threads(c, seed, p, step, in, control, run);
    }
    return true;
  }

  /// A canonical row has the reference's bits with any number of threads; another one its own. A device knows no such number, there
  /// it is the same bits in a second run.
  void check_threads(const Case& c, std::uint64_t seed, const Problem& p, const Step& step,
                     const std::vector<Array>& in, const Control& control, const RowRun& run) {
    const int most = device_.name() == "cpu" ? 3 : 1;
    for (int threads = 1; threads <= most; ++threads) {
      const std::string fault = compare_bits(run_row(p, step, in, control, threads, device_).out, run.out).fault;
      if (!fault.empty()) report(c, seed, fmt::format("with {} threads: {}", threads, fault));
    }
  }

  /// Against double.
  void check_exact(const Case& c, std::uint64_t seed, const std::vector<Array>& in, const Control& control,
                   const RowRun& run) {
    const std::vector<Array> wide = widened(in);
    const RowRun exact = run_reference(c.op, wide, control);
    if (run.control.halt != exact.control.halt) report(c, seed, "halt differs from the reference's");
    const Comparison comparison = c.integers && arithmetic_of(row_) != Arithmetic::winograd
                                      ? compare_bits(run.out, exact.out)
                                      : compare_bounded(c.op, wide, run.out, exact.out, control, arithmetic_of(row_));
    tally_.worst = std::max(tally_.worst, comparison.worst);
    if (comparison.worst > 1) report(c, seed, comparison.fault);
  }

  /// A NaN in one operand reaches at least what it reaches in the reference.
  bool try_nan(const Case& c, std::uint64_t seed) {
    return try_value(c, seed, std::numeric_limits<float>::quiet_NaN(), "a NaN", [](double v) { return std::isnan(v); });
  }
  /// And so does an infinity, as itself or as the NaN that it becomes.
  bool try_infinity(const Case& c, std::uint64_t seed) {
    return try_value(c, seed, std::numeric_limits<float>::infinity(), "an infinity",
                     [](double v) { return !std::isfinite(v); });
  }
  template <class There>
  bool try_value(const Case& c, std::uint64_t seed, float value, const char* name, const There& there) {
    Problem p;
    Step step;
    if (!bind(c, p, step)) return false;
    std::vector<Array> in = make_inputs(c, seed);
    std::mt19937_64 rng(seed);
    std::vector<std::size_t> candidates;
    for (std::size_t i = 0; i < in.size(); ++i)
      if (in[i].dtype() == DType::f32) candidates.push_back(i);
    Array& target = in[candidates[rng() % candidates.size()]];
    target.values<float>()[rng() % static_cast<std::uint64_t>(target.size())] = value;
    const Control control = make_control(seed);
    const RowRun run = run_row(p, step, in, control, 2, device_);
    report(c, seed, run.fault);
    const RowRun expected = run_reference(c.op, reference_ ? widened(in) : in, control);
    for (std::size_t o = 0; o < expected.out.size(); ++o)
      for (std::int64_t i = 0; i < expected.out[o].size(); ++i)
        if (there(expected.out[o].at(i)) && !there(run.out[o].at(i)))
          return report(c, seed, fmt::format("{} in an operand does not reach element {} of output {}", name, i, o)),
                 true;
    return true;
  }

  static float loss_of(std::uint64_t seed) {
    const float losses[] = {
        0.5f,  std::numeric_limits<float>::quiet_NaN(), -3.f, std::numeric_limits<float>::infinity(),
        3e38f, -std::numeric_limits<float>::infinity(), 0.f,  1e-40f};
    return losses[seed % 8];
  }

  void report(const Case& c, std::uint64_t seed, const std::string& fault) {
    if (fault.empty()) return;
    if (++tally_.failures <= 5)
      FAIL_CHECK(row_.provider << " " << c.name << (c.integers ? " in integers" : "") << ", seed " << seed << ": "
                               << fault);
  }

  const Kernel& row_;
  Backend& device_;
  bool reference_;
  Tally tally_;
};

}  // namespace

int check_rows(std::string_view provider, Backend& device) {
  std::string table =
      fmt::format("\n{:26} {:>5} {:>8} {:>7} {:>5} {:>6} {:>8} {:>9} {:>7}  rows of {}\n", "op", "fixed", "executed",
                  "refused", "edge", "chunks", "integers", "err/bound", "s", provider);
  int rows = 0;
  for (const Kernel& row : device.kernels()) {
    if (row.provider != provider || row.op == op::kind_of<op::CustomOp>)
      continue;  // that one needs the user's definition
    ++rows;
    if (!asked_for(op::name_of(row.op))) continue;
    const Tally t = RowTest(row, device).run();
    table += fmt::format("{:26} {:5} {:8} {:7} {:5} {:6} {:8} {:>9} {:7.2f}\n",
                         std::string(op::name_of(row.op)) +
                             (row.precision == Precision::fp32 ? "" : " " + std::string(name_of(row.precision))),
                         t.fixed, t.executed, t.refused, t.near_edge, t.many_chunks, t.integers,
                         row.canonical && row.provider != "reference" ? "same bits" : fmt::format("{:.3f}", t.worst),
                         t.seconds);
    for (const auto& [why, count] : t.reasons) table += fmt::format("    refused {:5}  {}\n", count, why);
    INFO(row.provider << " " << op::name_of(row.op));
    CHECK(t.executed >= least_cases);
    CHECK(t.failures == 0);
    if (least_cases < usual_cases) continue;  // too few for shares to say anything
    if (row.edges.sizes[0] > 1 && row.op != op::kind_of<op::CheckFinite>) CHECK(2 * t.near_edge >= t.executed);
    CHECK(10 * t.many_chunks >= t.chunked);
  }
  fmt::print("{}", table);
  return rows;
}

}  // namespace tenon::tests
