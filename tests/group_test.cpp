// The group pass: which nodes a chain claims, which it must leave, and that no bit changes.
#include <algorithm>
#include <functional>
#include <iterator>
#include <random>

#include "kernels/cpu/levels.hpp"
#include "lib/passes/passes.hpp"
#include "lib/runtime/plan.hpp"
#include "tenon/ops.hpp"
#include "tests/support/catch.hpp"

using namespace tenon;

namespace {

int live(const Graph& g) {
  return static_cast<int>(std::count_if(g.nodes.begin(), g.nodes.end(), [](const Node& n) { return !n.dead; }));
}
/// Instructions of each chain, in the order of the list.
std::vector<int> chains(const Graph& g) {
  std::vector<int> counts;
  for (const Node& n : g.nodes)
    if (const auto* c = std::get_if<op::PointwiseChain>(&n.op); c != nullptr && !n.dead) counts.push_back(c->count);
  return counts;
}

RowSet rows_of(const std::string& providers, DType dtype = DType::f32) {
  return {backend("cpu"), {.providers = providers, .threads = 2, .dtype = dtype}};
}

Array numbers(const TensorSpec& spec, std::uint64_t seed) {
  std::mt19937_64 rng(seed);
  std::uniform_real_distribution<float> draw(-2.f, 2.f);
  Array a(DType::f32, spec.shape);
  for (float& v : a.values<float>()) v = draw(rng);
  return spec.dtype == DType::f32 ? a : a.to(spec.dtype);
}

/// What the roles read after a run: outputs, observed values, and the gradient slab.
std::vector<std::vector<std::byte>> run(const Graph& g, const RowSet& rows, int threads) {
  Plan plan = make_plan(g, rows);
  Array arena(DType::u8, {plan.arena_bytes}), gradients(DType::u8, {1 << 20});
  Slabs slabs;
  slabs[Space::arena] = arena.bytes();
  slabs[Space::gradients] = gradients.bytes();
  Runner runner(plan, backend("cpu"));
  runner.bind(slabs);
  std::vector<Array> inputs;
  for (const Value& v : g.values)
    if (v.home.space == Space::input) inputs.push_back(numbers(v.spec, inputs.size() + 1));
  std::vector<const std::byte*> in;
  for (const Array& a : inputs) in.push_back(a.bytes());
  Control control;
  runner.run(in, control, threads);
  std::vector<std::vector<std::byte>> found;
  for (const auto* roles : {&plan.outputs, &plan.observed})
    for (const Readable& r : *roles) runner.read(r.home, found.emplace_back(r.spec.bytes()).data(), r.spec.bytes());
  found.emplace_back(gradients.bytes(), gradients.bytes() + (1 << 20));
  return found;
}

using Build = std::function<void(Graph&, DType)>;

/// The grouped graph, after comparing its bits with those of the ungrouped one.
Graph grouped(const Build& build, const std::string& providers = {}, DType dtype = DType::f32) {
  Graph plain;
  plain.dtype = dtype;
  build(plain, dtype);
  prune(plain);
  Graph g = plain;
  const RowSet rows = rows_of(providers, dtype);
  group(g, rows);
  const auto expected = run(plain, rows, 1);
  for (const int threads : {1, 3}) {
    const bool same = run(g, rows, threads) == expected;  // not inside CHECK: it would print every byte
    CAPTURE(threads);
    CHECK(same);
  }
  return g;
}

void output(Graph& g, Tensor y) { g.outputs.push_back({"y", y.id()}); }

/// x sigmoid(x), and the gradient of its sum by x in the gradient slab.
void swish(Graph& g, const Shape& shape, DType dtype) {
  const Tensor x = g.input("x", {dtype, shape});
  const Tensor y = mul(x, sigmoid(x));
  output(g, y);
  const Tensor seed = g.input("gy", {dtype, shape});
  const ValueId gx = differentiate(g, y.id(), {x.id()}, seed.id())[0];
  g.values[static_cast<std::size_t>(gx)].home = {Space::gradients, 256};
}

}  // namespace

TEST_CASE("the gradient of x sigmoid(x) becomes one chain with the same bits", "[group]") {
  // The sigmoid is read by the forward product and by the gradient: it stays, and so does the product.
  for (const std::int64_t n : {1, 5, 16, 511, 512, 513, 1025, 40000}) {
    const Graph g = grouped([n](Graph& to, DType d) { swish(to, {n}, d); });
    CAPTURE(n);
    CHECK(chains(g) == std::vector<int>{4});
    CHECK(live(g) == 3);
  }
}

TEST_CASE("the forward pass alone is one chain: a value may have two readers inside", "[group]") {
  const Graph g = grouped([](Graph& to, DType d) {
    const Tensor x = to.input("x", {d, {7, 300}});
    const Tensor s = sigmoid(x);
    output(to, add(mul(x, s), square(s)));
  });
  CHECK(chains(g) == std::vector<int>{4});
  CHECK(live(g) == 1);
  for (const Node& n : g.nodes)
    if (!n.dead) {
      CHECK(n.in.size() == 1);
      CHECK(g.values[static_cast<std::size_t>(n.out[0])].producer == &n - g.nodes.data());
    }
}

TEST_CASE("weighted sums with single values", "[group]") {
  const Build build = [](Graph& to, DType d) {
    const Tensor x = to.input("x", {d, {3, 1000}}), y = to.input("y", {d, {3, 1000}});
    const Tensor a = to.input("a", {d, {}}), b = to.input("b", {d, {1}});
    output(to, add(mul(a, x), mul(y, b)));
    output(to, affine(div(x, b), 2.f, 0.1f));
  };
#define TENON_PROVIDER(level) "cpu." #level,
  constexpr const char* ours[] = {TENON_LEVELS(TENON_PROVIDER)};
#undef TENON_PROVIDER
  // The last level is there on every machine.
  for (const char* providers : {"", "reference", ours[std::size(ours) - 1]}) {
    const Graph g = grouped(build, providers);
    CAPTURE(providers);
    CHECK(chains(g) == std::vector<int>{3, 2});
    CHECK(live(g) == 2);
  }
  CHECK(chains(grouped(build, "", DType::f64)) == std::vector<int>{3, 2});
}

TEST_CASE("inner values that somebody reads stay", "[group]") {
  const auto build = [](const std::function<void(Graph&, Tensor)>& read) {
    return [read](Graph& to, DType d) {
      const Tensor x = to.input("x", {d, {40, 5}});
      const Tensor inner = tenon::tanh(affine(x, 3.f, -1.f));
      read(to, inner);
      output(to, abs(square(inner)));
    };
  };
  SECTION("nobody") {
    CHECK(chains(grouped(build([](Graph&, Tensor) {}))) == std::vector<int>{4});
  }
  SECTION("an observer") {
    CHECK(chains(grouped(build([](Graph& g, Tensor t) {
            g.observed.push_back({"inner", t.id()});
          }))) == std::vector<int>{2, 2});
  }
  SECTION("an output") {
    CHECK(chains(grouped(build([](Graph& g, Tensor t) { output(g, t); }))) == std::vector<int>{2, 2});
  }
  SECTION("a node of another kind") {
    CHECK(chains(grouped(build([](Graph& g, Tensor t) { output(g, sum(t)); }))) == std::vector<int>{2, 2});
  }
  SECTION("its view in another shape") {
    CHECK(chains(grouped(build([](Graph& g, Tensor t) { output(g, reshape(t, {200})); }))) == std::vector<int>{2, 2});
  }
  SECTION("the optimizer, in the gradient slab") {
    const Graph g = grouped(build([](Graph& to, Tensor t) {
      to.values[static_cast<std::size_t>(t.id())].home = {Space::gradients, 512};
    }));
    CHECK(chains(g) == std::vector<int>{2, 2});
  }
  SECTION("an assignment") {
    Graph g;
    build([](Graph& to, Tensor t) {
      to.assignments.emplace_back(to.add_value(to.spec(t.id()), {Space::parameters, 0}), t.id());
    })(g, DType::f32);
    group(g, rows_of(""));
    CHECK(chains(g) == std::vector<int>{2, 2});
  }
}

TEST_CASE("what is no chain is left alone", "[group]") {
  SECTION("a single node") {
    const Graph g = grouped([](Graph& to, DType d) { output(to, exp(to.input("x", {d, {9}}))); });
    CHECK(chains(g).empty());
    CHECK(live(g) == 1);
  }
  SECTION("a broadcast row, and a result of another size") {
    const Graph g = grouped([](Graph& to, DType d) {
      const Tensor x = to.input("x", {d, {4, 6}}), row = to.input("row", {d, {6}});
      output(to, add(x, affine(row, 2.f, 0.f)));
    });
    CHECK(chains(g).empty());
    CHECK(live(g) == 2);
  }
  SECTION("what is computed once for all elements") {
    const Graph g = grouped([](Graph& to, DType d) {
      const Tensor x = to.input("x", {d, {4, 6}}), a = to.input("a", {d, {}});
      output(to, square(mul(x, exp(a))));
    });
    CHECK(chains(g) == std::vector<int>{2});
    CHECK(live(g) == 2);
  }
  SECTION("what another provider was named for") {
    const Build build = [](Graph& to, DType d) { swish(to, {100}, d); };
    CHECK(chains(grouped(build, "cpu.eigen")).empty());
    CHECK(chains(grouped(build, "mul=cpu.eigen")) == std::vector<int>{2});  // without the products
    CHECK(chains(grouped(build, "sigmoid=cpu.eigen")) == std::vector<int>{4});
  }
}

TEST_CASE("a broadcast row ends the set but not what follows", "[group]") {
  const Graph g = grouped([](Graph& to, DType d) {
    const Tensor x = to.input("x", {d, {4, 600}}), row = to.input("row", {d, {600}});
    output(to, silu(affine(add(relu(x), row), 0.5f, 1.f)));
  });
  // relu and the sum with the row stay; affine and silu join.
  CHECK(chains(g) == std::vector<int>{2});
  CHECK(live(g) == 3);
}

TEST_CASE("chains keep within 12 instructions and 8 operands", "[group]") {
  SECTION("instructions") {
    const Graph g = grouped([](Graph& to, DType d) {
      Tensor x = to.input("x", {d, {2000}});
      for (int i = 0; i < 30; ++i) x = i % 3 == 0 ? tenon::tanh(x) : affine(x, 1.1f, 0.01f);
      output(to, x);
    });
    CHECK(chains(g) == std::vector<int>{6, 12, 12});
    CHECK(live(g) == 3);
  }
  SECTION("operands") {
    const Graph g = grouped([](Graph& to, DType d) {
      Tensor total = to.input("x0", {d, {700}});
      for (int i = 1; i < 12; ++i) total = add(total, to.input("x", {d, {700}}));
      output(to, total);
    });
    // 8 operands make 7 sums; the partial sum that goes in counts as one of them.
    CHECK(chains(g) == std::vector<int>{4, 7});
    for (const Node& n : g.nodes) CHECK((n.dead || n.in.size() <= 8));
  }
}

TEST_CASE("a chain does not read a place after somebody wrote to it", "[group]") {
  Graph g;
  const TensorSpec spec{DType::f32, {64}};
  const ValueId state = g.add_value(spec, {Space::parameters, 0});
  const Tensor x = g.input("x", spec);
  const ValueId doubled = g.append1(op::Unary{op::UnaryFn::affine, 2.f, 0.f}, {state});
  const ValueId written = g.append1(op::AssignEma{0.9f}, {state, x.id()});
  g.values[static_cast<std::size_t>(written)].home = {Space::parameters, 0};
  SECTION("the place that it reads") {}
  SECTION("a neighbour's") { g.values[static_cast<std::size_t>(written)].home.offset = 256; }
  const bool same_place = g.values[static_cast<std::size_t>(written)].home.offset == 0;
  output(g, mul(Tensor{&g, doubled}, x));
  group(g, rows_of(""));
  CHECK(chains(g) == (same_place ? std::vector<int>{} : std::vector<int>{2}));
}

TEST_CASE("every unary function and its gradient give the same bits in a chain", "[group]") {
  for (int i = 0; i <= static_cast<int>(op::UnaryFn::abs); ++i) {
    const op::Unary u{static_cast<op::UnaryFn>(i), 0.3f, -0.7f};
    const Graph g = grouped([&u](Graph& to, DType d) {
      const Tensor x = abs(to.input("x", {d, {1033}})), gy = to.input("gy", {d, {1033}});
      const ValueId y = to.append1(u, {x.id()});
      const ValueId gx = to.append1(op::UnaryGrad{u}, {gy.id(), op::unary_gradient_reads_output(u.fn) ? y : x.id()});
      output(to, sub(Tensor{&to, y}, Tensor{&to, gx}));
    });
    CAPTURE(op::name_of(u.fn));
    CHECK(chains(g) == std::vector<int>{4});
  }
}

TEST_CASE("a chain says what does not fit", "[group]") {
  using Chain = op::PointwiseChain;
  const auto add = [](std::uint8_t a, std::uint8_t b) {
    return Chain::Instruction{Chain::Form::binary, static_cast<std::uint8_t>(op::BinaryFn::add), a, b};
  };
  const std::vector<TensorSpec> in{{DType::f32, {4, 2}}, {DType::f32, {}}, {DType::f32, {2}}};
  const std::vector<TensorSpec> two{in[0], in[1]};
  CHECK(infer_node(Chain{2, {add(0, 1), add(8, 8)}}, two)[0] == in[0]);
  CHECK_THROWS_WITH(infer_node(Chain{}, in), Catch::Contains("instructions, found 0"));
  CHECK_THROWS_WITH(infer_node(Chain{1, {add(0, 3)}}, in), Catch::Contains("operand 3, which is not there"));
  CHECK_THROWS_WITH(infer_node(Chain{1, {add(0, 8)}}, in), Catch::Contains("operand 8, which is not there"));
  CHECK_THROWS_WITH(infer_node(Chain{1, {add(0, 1)}}, in), Catch::Contains("elements or one"));
  CHECK_THROWS_WITH(infer_node(Chain{2, {add(1, 1), add(0, 8)}}, in), Catch::Contains("in every result"));
  const Cost c = cost_node(Chain{2, {add(0, 1), add(8, 8)}}, two, std::vector<TensorSpec>{in[0]});
  CHECK(c.flops == 16);
  CHECK(c.bytes == 4 * (8 + 1 + 8));
}
