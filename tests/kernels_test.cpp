// Every row of the CPU's kernel table against the reference, provider by provider (tests/row_test.hpp), and what a table
// and the comparisons promise.
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <set>
#include <string>

#include "kernels/cpu/levels.hpp"
#include "kernels/cpu/rows.hpp"
#include "lib/train/row_check.hpp"
#include "tests/cases.hpp"
#include "tests/row_test.hpp"
#include "tests/support/catch.hpp"

namespace tenon::tests {
namespace {

[[maybe_unused]] bool processor_has(const std::string& flag) {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("flags")) return line.find(flag) != std::string::npos;
  return false;
}

/// True where this machine has the provider's instructions and nobody capped them.
bool expected_here([[maybe_unused]] std::string_view provider) {
#if defined(__x86_64__)
  const bool capped = std::getenv("TENON_ISA") != nullptr;
  if (provider == "cpu.avx2") return !capped && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (provider == "cpu.avx512")
    return !capped && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (provider == "cpu.amx") return !capped && processor_has(" amx_bf16");
#endif
  return true;
}

void check_provider(std::string_view provider) {
  const int rows = check_rows(provider);
  if (expected_here(provider)) CHECK(rows > 0);
}

}  // namespace

TEST_CASE("rows of the reference keep their bounds", "[kernels][reference]") { check_provider("reference"); }
#define TENON_CHECK_ROWS(name) \
  TEST_CASE("rows of cpu." #name " agree with the reference", "[kernels][" #name "]") { check_provider("cpu." #name); }
TENON_LEVELS(TENON_CHECK_ROWS)
TENON_CHECK_ROWS(amx)
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
  cpu::Microkernels loops{};
  loops.provider = "cpu.none";
  KernelTable table;
  cpu::append_rows(table, loops);
  CHECK(table.empty());
  loops.avg_pool2d = [](const Call&) {};  // one of the two that the row chooses from
  cpu::append_rows(table, loops);
  REQUIRE(table.size() == 1);
  CHECK(table[0].op == op::kind_of<op::Pool2d>);
}

TEST_CASE("a provider's rows stand from the least exact class to fp32, and those of bf16 before all others",
          "[kernels][rows]") {
  const KernelTable& table = backend("cpu").kernels();
  for (std::size_t i = 0; i < table.size(); ++i)
    for (std::size_t j = i + 1; j < table.size(); ++j) {
      if (table[i].op != table[j].op) continue;
      INFO(op::name_of(table[i].op) << " of " << table[i].provider << " and " << table[j].provider);
      if (table[i].provider == table[j].provider) CHECK(table[i].precision >= table[j].precision);
      if (table[j].precision == Precision::bf16) CHECK(table[i].precision == Precision::bf16);
    }
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
