// Every row of the CPU's kernel table against the reference: fixed cases, and at least 250 random ones that the row
// accepts, most of them aimed at the sizes where it changes its path. Canonical rows give the reference's bits; the
// others, and the reference's float against its double, keep the bounds of lib/train/error_bound.cpp; small integers
// come out exact. One failing case is reproduced by its name and seed, which the message carries. TENON_TEST_CASES is
// another number than 250, for a processor that is emulated.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <map>
#include <set>

#include "kernels/cpu/rows.hpp"
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
  explicit RowTest(const Kernel& row) : row_(row), reference_(row.provider == "reference") {}

  Tally run() {
    const auto begin = std::chrono::steady_clock::now();
    for (const Case& c : cases())
      if (op::kind(c.op) == row_.op) tally_.fixed += try_case(c, 1) ? 1 : 0;
    for (const Case& c : large_cases())
      if (op::kind(c.op) == row_.op) tally_.fixed += try_case(c, static_cast<std::uint64_t>(tally_.fixed)) ? 1 : 0;
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
    tally_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    return tally_;
  }

 private:
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
    Control control = make_control(seed);
    if (row_.op >= op::kind_of<op::SgdUpdate> && seed % 16 == 5)
      control.halt = Control::not_finite;  // updates do nothing
    const int threads[] = {1, 2, 1, 2, 3, 1, 2, 4};
    const RowRun run = run_row(p, step, in, control, threads[seed % 8]);
    report(c, seed, run.fault);
    if (row_.canonical && !reference_) {
      const RowRun expected = run_reference(c.op, in, control);
      report(c, seed, compare_bits(run.out, expected.out).fault);
      if (run.control.halt != expected.control.halt) report(c, seed, "halt differs from the reference's");
    } else {
      check_exact(c, seed, in, control, run);
    }
    return true;
  }

  /// Against double.
  void check_exact(const Case& c, std::uint64_t seed, const std::vector<Array>& in, const Control& control,
                   const RowRun& run) {
    const std::vector<Array> wide = widened(in);
    const RowRun exact = run_reference(c.op, wide, control);
    if (run.control.halt != exact.control.halt) report(c, seed, "halt differs from the reference's");
    const Comparison comparison = c.integers && row_.precision == Precision::fp32
                                      ? compare_bits(run.out, exact.out)
                                      : compare_bounded(c.op, wide, run.out, exact.out, control, row_.precision);
    tally_.worst = std::max(tally_.worst, comparison.worst);
    if (comparison.worst > 1) report(c, seed, comparison.fault);
  }

  /// A NaN in one operand reaches at least what it reaches in the reference.
  bool try_nan(const Case& c, std::uint64_t seed) {
    Problem p;
    Step step;
    if (!bind(c, p, step)) return false;
    std::vector<Array> in = make_inputs(c, seed);
    std::mt19937_64 rng(seed);
    std::vector<std::size_t> candidates;
    for (std::size_t i = 0; i < in.size(); ++i)
      if (in[i].dtype() == DType::f32) candidates.push_back(i);
    Array& target = in[candidates[rng() % candidates.size()]];
    target.values<float>()[rng() % static_cast<std::uint64_t>(target.size())] = std::numeric_limits<float>::quiet_NaN();
    const Control control = make_control(seed);
    const RowRun run = run_row(p, step, in, control, 2);
    report(c, seed, run.fault);
    const RowRun expected = run_reference(c.op, reference_ ? widened(in) : in, control);
    for (std::size_t o = 0; o < expected.out.size(); ++o)
      for (std::int64_t i = 0; i < expected.out[o].size(); ++i)
        if (std::isnan(expected.out[o].at(i)) && !std::isnan(run.out[o].at(i)))
          return report(c, seed, fmt::format("a NaN in an operand does not reach element {} of output {}", i, o)), true;
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
  bool reference_;
  Tally tally_;
};

/// True where this machine has the provider's instructions and nobody capped them.
bool expected_here([[maybe_unused]] std::string_view provider) {
#if defined(__x86_64__)
  const bool capped = std::getenv("TENON_ISA") != nullptr;
  if (provider == "cpu.avx2") return !capped && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (provider == "cpu.avx512")
    return !capped && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#endif
  return true;
}

void check_rows(std::string_view provider) {
  std::string table =
      fmt::format("\n{:26} {:>5} {:>8} {:>7} {:>5} {:>6} {:>8} {:>9} {:>7}  rows of {}\n", "op", "fixed", "executed",
                  "refused", "edge", "chunks", "integers", "err/bound", "s", provider);
  int rows = 0;
  for (const Kernel& row : backend("cpu").kernels()) {
    if (row.provider != provider || row.op == op::kind_of<op::CustomOp>)
      continue;  // that one needs the user's definition
    ++rows;
    const Tally t = RowTest(row).run();
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
  if (expected_here(provider)) CHECK(rows > 0);
}

}  // namespace

TEST_CASE("rows of the reference keep their bounds", "[kernels][reference]") { check_rows("reference"); }
#define TENON_CHECK_ROWS(name) \
  TEST_CASE("rows of cpu." #name " agree with the reference", "[kernels][" #name "]") { check_rows("cpu." #name); }
TENON_LEVELS(TENON_CHECK_ROWS)
TENON_CHECK_ROWS(eigen)
#undef TENON_CHECK_ROWS

TEST_CASE("every operation has a reference row, and the fixed list every operation", "[kernels][reference]") {
  for (op::Kind kind = 0; kind < op::kinds; ++kind) {
    INFO(op::name_of(kind));
    bool row = false, listed = false;
    for (const Kernel& k : backend("cpu").kernels()) row = row || (k.op == kind && k.provider == "reference");
    for (const Case& c : cases()) listed = listed || op::kind(c.op) == kind;
    CHECK((row || kind == op::kind_of<op::Reshape>));
    CHECK((listed || kind == op::kind_of<op::CustomOp>));
  }
}

TEST_CASE("every case has a name of its own", "[kernels][cases]") {
  std::set<std::string> names;
  for (const std::vector<Case>* list : {&cases(), &large_cases()})
    for (const Case& c : *list) {
      INFO(c.name);
      CHECK(names.insert(c.name).second);
    }
}

TEST_CASE("a provider has rows only for the loops that it has", "[kernels][rows]") {
  cpu::Microkernels loops{.provider = "cpu.none"};
  KernelTable table;
  cpu::append_rows(table, loops);
  CHECK(table.empty());
  loops.avg_pool2d = [](const Call&) {};  // one of the two that the row chooses from
  cpu::append_rows(table, loops);
  REQUIRE(table.size() == 1);
  CHECK(table[0].op == op::kind_of<op::Pool2d>);
}

TEST_CASE("a label out of range stops the updates on every row", "[kernels][labels]") {
  const std::vector<TensorSpec> scores{{DType::f32, {3, 4}}, {DType::i32, {3}}};
  const op::AnyOp ops[] = {op::SoftmaxCrossEntropy{}, op::Correct{}, op::Gather{}};
  for (const op::AnyOp& any : ops)
    for (const Kernel& row : backend("cpu").kernels()) {
      if (row.op != op::kind(any)) continue;
      for (const std::int32_t bad : {-1, 4, 1000000}) {
        const Problem p = make_problem(any, scores);
        const Bound bound = row.bind(p, row);
        const Step* step = std::get_if<Step>(&bound);
        if (step == nullptr) continue;
        Array x(scores[0]);
        const std::vector<std::int32_t> labels{0, bad, 3};
        const RowRun run = run_row(p, *step, {x, Array::of(labels, Shape{3})}, Control{}, 2);
        INFO(row.provider << " " << op::name_of(any) << " label " << bad);
        CHECK((run.control.halt & Control::bad_index) != 0);
        CHECK(run.control.bad_value == bad);
        CHECK(run.fault.empty());
      }
    }
}

// The checks above are worth what they catch.
TEST_CASE("the comparison catches a wrong element, a lost one, and a write behind the end", "[kernels][power]") {
  const op::AnyOp any = op::MatMul{};
  const std::vector<TensorSpec> specs{{DType::f32, {4, 6}}, {DType::f32, {6, 5}}};
  Case c{"matmul", any, specs, {Fill{}, Fill{}}};
  const std::vector<Array> in = make_inputs(c, 3);
  const Control control;
  const std::vector<Array> exact = run_reference(any, widened(in), control).out;
  std::vector<Array> found{run_reference(any, in, control).out[0]};
  CHECK(compare_bounded(any, widened(in), found, exact, control).worst < 1);
  float& element = found[0].values<float>()[7];
  const float right = element;
  element = right + 1e-4f;
  CHECK(compare_bounded(any, widened(in), found, exact, control).worst > 1);
  element = std::nextafter(right, 10.f);
  CHECK_FALSE(compare_bits(found, run_reference(any, in, control).out).fault.empty());
  element = std::numeric_limits<float>::quiet_NaN();
  CHECK(compare_bounded(any, widened(in), found, exact, control).worst > 1);

  const Problem p = make_problem(any, specs);
  const Step overrun{[](const Call& call) { static_cast<float*>(call.out[0])[20] = 1.f; }, nullptr, 0};
  CHECK(run_row(p, overrun, in, control, 1).fault == "wrote outside operand 2");
  const Step before{[](const Call& call) { static_cast<float*>(call.out[0])[-1] = 1.f; }, nullptr, 0};
  CHECK(run_row(p, before, in, control, 1).fault == "wrote outside operand 2");
  const Step scratch{[](const Call& call) { static_cast<float*>(call.workspace)[2] = 1.f; }, nullptr, 8};
  CHECK(run_row(p, scratch, in, control, 1).fault == "wrote outside its workspace of 8 bytes");
  const Step operand{[](const Call& call) { *static_cast<float*>(const_cast<void*>(call.in[1])) = 9.f; }, nullptr, 0};
  CHECK(run_row(p, operand, in, control, 1).fault == "wrote to input 1");
  const Step nothing{[](const Call&) {}, nullptr, 0};
  CHECK(std::isnan(run_row(p, nothing, in, control, 1).out[0].at(0)));
}

}  // namespace tenon::tests
