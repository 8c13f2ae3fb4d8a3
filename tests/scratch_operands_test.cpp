// What kernels are timed with, and how problems are told apart: over the whole list of cases.
#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>

#include "lib/ops/attributes.hpp"
#include "lib/runtime/scratch_operands.hpp"
#include "lib/train/row_check.hpp"
#include "tests/cases.hpp"
#include "tests/support/catch.hpp"

namespace tenon::tests {
namespace {

std::vector<Array> operands_of(const Case& c) { return scratch_operands(c.op, c.in); }

double share(const Array& a, const std::function<bool(double)>& counts) {
  std::int64_t n = 0;
  for (std::int64_t i = 0; i < a.size(); ++i) n += counts(a.at(i));
  return static_cast<double>(n) / static_cast<double>(a.size());
}

}  // namespace

TEST_CASE("every operation runs on its scratch operands", "[tune][scratch]") {
  std::set<op::Kind> seen;
  for (const Case& c : cases()) {
    INFO(c.name);
    if (std::holds_alternative<op::Reshape>(c.op)) continue;  // has no kernel
    seen.insert(op::kind(c.op));
    const std::vector<Array> in = operands_of(c);
    REQUIRE(specs_of(in) == c.in);
    Control control;
    control.lr = 1e-3f;
    control.micro = 1;
    const RowRun run = run_reference(c.op, in, control);
    CHECK(run.fault == "");
    CHECK(run.control.halt == 0);
    for (const Array& y : run.out)
      for (std::int64_t i = 0; i < y.size(); ++i)
        if (!std::isfinite(y.at(i))) {
          // Draws are in [-1, 1): chains, states and quotients of them may leave what is finite.
          const bool may = std::holds_alternative<op::PointwiseChain>(c.op) ||
                           std::holds_alternative<op::Binary>(c.op) || op::kind(c.op) >= op::kind_of<op::SgdUpdate>;
          if (!may) FAIL_CHECK("not finite at " << i);
          break;
        }
  }
  CHECK(seen.size() > 40);
}

TEST_CASE("masks of scratch operands have the share of live terms that is stated", "[tune][scratch]") {
  const TensorSpec image{DType::f32, {8, 24, 24, 16}}, filter{DType::f32, {3, 3, 16, 16}};
  op::Conv2d conv{.epilogue = {.bias = true, .pool = true, .activation = op::UnaryFn::relu, .dropout = 0.25f}};
  const op::Conv2dGradInput pooled{conv, 24, 24};
  const TensorSpec gy{DType::f32, {8, 11, 11, 16}}, mask{DType::u8, {8, 11, 11, 16}};
  CHECK(alive_share(pooled) == Approx(0.04));
  std::vector<Array> in = scratch_operands(pooled, {gy, filter, mask});
  CHECK(share(in[2], [](double b) { return b < 4; }) == Approx(0.16).margin(0.02));
  CHECK(share(in[2], [](double b) { return b < 4 || b == op::Epilogue::killed; }) == 1);
  for (const int winner : {0, 1, 2, 3}) CHECK(share(in[2], [&](double b) { return b == winner; }) > 0.02);

  conv.epilogue.pool = false;
  const op::Conv2dGradFilter dropped{conv, {3, 3}};
  CHECK(alive_share(dropped) == 0.25);
  in = scratch_operands(dropped, {{DType::f32, {8, 22, 22, 16}}, image, {DType::u8, {8, 22, 22, 16}}});
  CHECK(share(in[2], [](double b) { return b == 0; }) == Approx(0.25).margin(0.02));

  const op::MatMulGradA gated{{.epilogue = {.activation = op::UnaryFn::relu}}};
  CHECK(alive_share(gated) == 0.5);
  in = scratch_operands(gated, {{DType::f32, {64, 100}}, {DType::f32, {50, 100}}, {DType::f32, {64, 100}}});
  CHECK(share(in[2], [](double y) { return y > 0; }) == Approx(0.5).margin(0.03));
  CHECK(share(in[0], [](double g) { return g > 0; }) == Approx(0.5).margin(0.03));
  CHECK(alive_share(op::MatMul{}) == 1);
}

TEST_CASE("problems have texts of their own", "[tune][scratch]") {
  std::map<std::string, const Case*> texts;
  int same = 0;
  for (const auto* list : {&cases(), &large_cases()})
    for (const Case& c : *list) {
      const auto [it, fresh] = texts.emplace(text_of(make_problem(c.op, c.in), c.op), &c);
      if (fresh) continue;
      // Two cases may differ in their values, or in the number of a dropout, and in nothing else.
      const std::string &a = it->second->name, &b = c.name;
      INFO(a << "\n" << b);
      const bool site =
          a.substr(0, a.find(" site")) == b.substr(0, b.find(" site")) && a.find(" site") != std::string::npos;
      CHECK((site || a.find(b) == 0 || b.find(a) == 0));
      ++same;
    }
  CHECK(same < 20);
  const op::Conv2d c{
      .stride = {2, 1}, .pad = {1, 1, 0, 0}, .epilogue = {.bias = true, .activation = op::UnaryFn::relu}};
  const Problem p = make_problem(
      c, std::vector<TensorSpec>{{DType::f32, {2, 8, 8, 3}}, {DType::f32, {3, 3, 3, 4}}, {DType::f32, {4}}});
  CHECK(text_of(p, c) == "conv2d f32(2,8,8,3) f32(3,3,3,4) f32(4) -> f32(2,4,6,4) {stride=2x1 pad=1,1,0,0 bias relu}");
}

}  // namespace tenon::tests
