// Updates that follow their gradients: which plans have them, and that no bit of parameters, states or gradients changes.
#include <algorithm>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "lib/runtime/compile_plan.hpp"
#include "lib/runtime/slab.hpp"
#include "tenon/backend.hpp"
#include "tenon/custom_op.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/toy.hpp"

using namespace tenon;
using namespace tenon::test;

namespace {

constexpr std::int64_t features = 257, classes = 10;
const std::string joined = "matmul_grad_b +update";

/// Odd sizes. Gradients of a batch beyond a chunk: (257,193) and (400,129) by chunks of k, (193,400) by regions; that of the
/// head is small.
nn::Sequential net() {
  return {nn::Dense{.units = 193, .activation = relu}, nn::Dense{.units = 400, .activation = tenon::tanh},
          nn::Dropout{.2f}, nn::Dense{.units = 129, .activation = relu}, nn::Dense{.units = classes}};
}
CompileOptions options(Optimizer optimizer = Sgd{.lr = 0.1f}) {
  CompileOptions o = toy_options(features, classes);
  o.optimizer = optimizer;
  o.metrics = {{.criterion = accuracy}};
  o.loss_scale = 1.f;
  o.run.device = "cpu";
  o.run.seed = 5;
  return o;
}
Batch batch_of(std::int64_t n, std::uint32_t seed = 1) { return toy_batch(n, features, classes, seed); }

bool joins_here() { return backend("cpu").canonical(); }

/// A training plan with all its memory in view.
class Training {
 public:
  Training(const Model& model, CompileOptions o, std::int64_t batch)
      : options_(std::move(o)), model_(model), program_(compile(model_, options_)) {
    Backend& device = backend("cpu");
    threads_ = options_.run.threads > 0 ? options_.run.threads : device.default_threads();
    plan_ = compile_plan(model_, options_, RowSet(device, options_.run), PlanMode::train, batch);
    arena_ = Slab(device, static_cast<std::size_t>(plan_.arena_bytes));
    const std::size_t bytes = static_cast<std::size_t>(parameters().slab_elements()) * size_of(parameters().dtype());
    for (Slab* s : {&gradients_, &states_[0], &states_[1], &states_[2]}) {
      *s = Slab(device, bytes);
      s->clear();
    }
    Slabs slabs;
    slabs[Space::arena] = arena_.data();
    slabs[Space::parameters] = parameters().slab();
    slabs[Space::gradients] = gradients_.data();
    for (int i = 0; i < 3; ++i) slabs[static_cast<Space>(static_cast<int>(Space::state0) + i)] = states_[i].data();
    runner_ = std::make_unique<Runner>(plan_, device);
    runner_->bind(slabs);
    control_.seed = options_.run.seed;
    control_.lr = learning_rate(options_.optimizer).at(0);
  }
  Training(const Training&) = delete;
  Training& operator=(const Training&) = delete;

  void step(const Batch& b) {
    runner_->run({b.inputs[0].bytes(), b.targets[0].bytes()}, control_, threads_);
    ++control_.step;
    control_.updates += control_.halt == 0 ? 1 : 0;
  }
  [[nodiscard]] const Control& control() const { return control_; }
  [[nodiscard]] const std::vector<PlanStep>& steps() const { return plan_.steps; }
  [[nodiscard]] Parameters& parameters() const { return model_.parameters(); }

  using Bytes = std::vector<std::byte>;
  struct Memory {
    Bytes parameters, gradients, states;
    bool operator==(const Memory&) const = default;
  };
  [[nodiscard]] Memory memory() const {
    Memory m;
    const auto append = [&](Bytes& to, const std::byte* from) { to.insert(to.end(), from, from + gradients_.size()); };
    append(m.parameters, parameters().slab());
    append(m.gradients, gradients_.data());
    for (const Slab& s : states_) append(m.states, s.data());
    return m;
  }

 private:
  CompileOptions options_;
  Model model_;
  Program program_;  // declares the parameters
  int threads_ = 1;
  Plan plan_;
  Slab arena_, gradients_, states_[3];
  std::unique_ptr<Runner> runner_;
  Control control_;
};

/// Shapes of the gradients that take their update along.
std::vector<std::string> joins(const Model& model, const CompileOptions& o, std::int64_t batch = 40) {
  std::vector<std::string> shapes;
  Program p = compile(model, o);
  for (const PlanEntry& e : p.plan(Program::Mode::train, batch))
    if (e.op.ends_with(" +update")) {
      CHECK(e.op == joined);
      shapes.push_back(e.shape);
    }
  return shapes;
}
using Shapes = std::vector<std::string>;
const Shapes all{"f32(400,129)", "f32(193,400)", "f32(257,193)"};  // of net(), from the last layer to the first

Training::Memory trained(const CompileOptions& o, std::int64_t batch, bool fuse, int threads) {
  CompileOptions with = o;
  with.run.fuse = fuse;
  with.run.threads = threads;
  Training t(net(), with, batch);
  const bool any = std::ranges::any_of(t.steps(), [](const PlanStep& s) { return s.op.ends_with(" +update"); });
  CHECK(any == fuse);
  for (std::uint32_t i = 0; i < 3; ++i) t.step(batch_of(batch, i + 1));
  CHECK(t.control().halt == 0);
  return t.memory();
}
void check_same(const Training::Memory& found, const Training::Memory& expected) {
  CHECK((found.parameters == expected.parameters));
  CHECK((found.gradients == expected.gradients));
  CHECK((found.states == expected.states));
}

struct Named {
  const char* name;
  Optimizer optimizer;
};
const std::vector<Named>& optimizers() {
  static const std::vector<Named> list{{"sgd", Sgd{.lr = 0.1f}},
                                       {"sgd, momentum", Sgd{.lr = 0.1f, .momentum = 0.9f}},
                                       {"sgd, nesterov", Sgd{.lr = 0.1f, .momentum = 0.9f, .nesterov = true}},
                                       {"sgd, weight decay", Sgd{.lr = 0.1f, .weight_decay = 0.01f}},
                                       {"adadelta", Adadelta{}},
                                       {"adagrad", Adagrad{.lr = 0.05f, .weight_decay = 0.01f}},
                                       {"rmsprop", RmsProp{}},
                                       {"rmsprop, momentum", RmsProp{.momentum = 0.8f, .epsilon_inside = false}},
                                       {"adam", Adam{}},
                                       {"adam, weight decay", Adam{.weight_decay = 0.01f}},
                                       {"adamw", AdamW{}}};
  return list;
}

/// Scores of a dense layer whose gradient is large, and something else that its weight does.
Model with_head(std::function<Tensor(const nn::Dense&, Tensor)> f) {
  const nn::Dense wide{.units = 257, .activation = relu, .name = "wide"}, head{.units = classes, .name = "head"};
  return Model{[=](Values in) { return Values{{"y", head(f(wide, in["x"]))}}; }};
}

}  // namespace

TEST_CASE("large gradients of dense layers take their update along", "[updates][plan]") {
  if (!joins_here()) {
    WARN("skipped: no instruction set with FMA here");
    return;
  }
  for (const Named& n : optimizers()) {
    INFO(n.name);
    CHECK(joins(net(), options(n.optimizer)) == all);
  }
  // 32768 elements, and one row less.
  CHECK(joins(nn::Sequential{nn::Dense{.units = 128}, nn::Dense{.units = 256}, nn::Dense{.units = 127}}, options())
            .size() == 2);
  Program p = compile(net(), options());
  CHECK(p.plan_table(Program::Mode::train, 40).find("\n+update: ") != std::string::npos);
  CHECK(p.plan_table(Program::Mode::evaluate, 40).find("+update") == std::string::npos);
}

TEST_CASE("gradients that somebody treats first do not", "[updates][plan]") {
  CompileOptions o = options();
  SECTION("clipping") { o.clip_norm = 1.f; }
  SECTION("accumulation") { o.accumulate = 2; }
  SECTION("a scaled loss") { o.loss_scale = 1024.f; }
  SECTION("nothing is fused") { o.run.fuse = false; }
  SECTION("f64") { o.run.dtype = DType::f64; }
  SECTION("another provider's product") { o.run.providers = "matmul_grad_b=cpu.eigen"; }
  SECTION("the reference's update") { o.run.providers = "sgd_update=reference"; }
  CHECK(joins(net(), o).empty());
}

TEST_CASE("only what is updated takes an update along", "[updates][plan]") {
  if (!joins_here()) return;
  CompileOptions o = options();
  o.frozen = {"dense_1.kernel"};
  CHECK(joins(net(), o) == Shapes{"f32(400,129)", "f32(257,193)"});
  o = options();
  o.groups = {{"dense_1.*", 0.5f, 0.02f}};  // each at its place, whatever update it is
  CHECK(joins(net(), o) == all);
  o = options();
  o.observe = {"grad:*"};  // read from its place after the step
  CHECK(joins(net(), o) == all);
}

TEST_CASE("a weight that has several gradients is updated when all are there", "[updates][plan]") {
  if (!joins_here()) return;
  CHECK(joins(with_head([](const nn::Dense& wide, Tensor x) { return wide(x); }), options()) == Shapes{"f32(257,257)"});
  CHECK(joins(with_head([](const nn::Dense& wide, Tensor x) { return wide(wide(x)); }), options()).empty());
  const auto twice = [](const Tensor& x, const Tensor& w) {
    return matmul(x, w) + matmul(x, w, {.transpose_b = true});
  };
  CHECK(joins(Model{[=](Values in) {
                const Tensor w = nn::parameter(in["x"], "w", {features, features});
                return Values{{"y", nn::Dense{.units = classes, .name = "head"}(twice(in["x"], w))}};
              }},
              options())
            .empty());
}

TEST_CASE("a joined gradient comes behind everybody who needs the weight as it was", "[updates][plan]") {
  if (!joins_here()) return;
  for (const std::int64_t batch : {1, 40, 1100}) {
    const Training t(net(), options(), batch);
    const std::vector<PlanStep>& steps = t.steps();
    int readers = 0, halters = 0;
    for (std::size_t j = 0; j < steps.size(); ++j) {
      if (steps[j].op != joined) continue;
      const Home gradient = steps[j].out[0];
      CHECK(gradient.space == Space::gradients);
      const auto reads = [&](const PlanStep& s) {
        for (std::size_t i = 0; i < s.in.size(); ++i)
          if (s.in[i] == Home{Space::parameters, gradient.offset} && s.in_bytes[i] == steps[j].out_bytes[0])
            return true;
        return false;
      };
      for (std::size_t i = 0; i < steps.size(); ++i) {
        INFO(steps[i].op << " " << i << ", " << steps[j].result.str() << " " << j);
        if (reads(steps[i])) CHECK(i < j);
        readers += reads(steps[i]);
        if (steps[i].control == ControlUse::marks) CHECK(i < j);
        halters += steps[i].control == ControlUse::marks;
      }
    }
    CHECK(readers == 5);  // forward all, backward all but the first layer
    CHECK(halters >= 3 * 3);
  }
}

TEST_CASE("a gradient that is made of parameters reads them as they were", "[updates][bits]") {
  // The gradient of z is the second operand itself: those of `a` and `b` below are x^T b and x^T a, or x^T a alone.
  const CustomFunction toward =
      define_op({.name = "toward",
                 .infer = same_shape,
                 .vjp =
                     [](const CustomVjp& v) {
                       return std::vector<Tensor>{v.inputs[1], Tensor{}};
                     },
                 .reference = [](auto in, auto out) { std::ranges::copy(in[0], out[0].begin()); }});
  const auto weight = [](const Tensor& x, const char* name) { return nn::parameter(x, name, {features, features}); };
  const std::function<Tensor(Tensor)> crossed = [&](const Tensor& x) {
    const Tensor a = weight(x, "a"), b = weight(x, "b");
    return toward(matmul(x, a), b) + toward(matmul(x, b), a);
  };
  const std::function<Tensor(Tensor)> own = [&](const Tensor& x) {
    const Tensor a = weight(x, "a");
    return toward(matmul(x, a), a);
  };
  const std::function<Tensor(Tensor)> product = [&](const Tensor& x) {
    return matmul(x, matmul(weight(x, "a"), weight(x, "b")));
  };
  const std::pair<const char*, std::function<Tensor(Tensor)>> models[] = {
      {"crossed", crossed}, {"own", own}, {"product", product}};
  for (const auto& [name, f] : models)
    for (const int threads : {1, 3}) {
      const auto after = [&, f = f](bool fuse) {
        CompileOptions o = options();
        o.run.fuse = fuse;
        o.run.threads = threads;
        o.loss = [](const Tensor& y, const Tensor&) { return mean(y); };
        o.metrics.clear();
        Training t(Model{[=](Values in) { return Values{{"y", f(in["x"])}}; }}, o, features);
        for (std::uint32_t i = 0; i < 3; ++i) t.step(batch_of(features, i));
        return t.memory();
      };
      INFO(name << ", " << threads << " threads");
      check_same(after(true), after(false));
    }
}

TEST_CASE("joined updates have the bits of the slab's", "[updates][bits]") {
  if (!joins_here()) return;
  for (const Named& n : optimizers())
    for (const std::int64_t batch : {1, 40, 64, 1100}) {
      const Training::Memory apart = trained(options(n.optimizer), batch, false, 2);
      for (const int threads : {1, 2, 3}) {
        INFO(n.name << ", batch " << batch << ", " << threads << " threads");
        check_same(trained(options(n.optimizer), batch, true, threads), apart);
      }
    }
}

TEST_CASE("so they have where a slab has several updates", "[updates][bits]") {
  if (!joins_here()) return;
  for (const Optimizer& optimizer : {Optimizer{Sgd{.momentum = 0.9f}}, Optimizer{AdamW{}}}) {
    CompileOptions frozen = options(optimizer), groups = options(optimizer), both = options(optimizer);
    frozen.frozen = {"dense_1.kernel"};
    groups.groups = {{"*bias", 2.f, 0.f}, {"dense_1.*", 0.5f, 0.02f}};
    both.frozen = {"dense.bias", "dense_2.*"};
    both.groups = {{"dense_1.*", 0.5f, 0.02f}};
    for (const CompileOptions& o : {frozen, groups, both})
      for (const int threads : {1, 2, 3}) {
        INFO(threads << " threads");
        check_same(trained(o, 40, true, threads), trained(o, 40, false, 1));
      }
  }
}

TEST_CASE("tf32 and bf16 have the bits of the slab's updates too", "[updates][bits]") {
  if (!joins_here()) return;
  for (const char* precision : {"tf32", "bf16"})
    for (const std::int64_t batch : {40, 1100}) {
      CompileOptions o = options(Adam{});
      o.run.precision = precision;
      const Training::Memory apart = trained(o, batch, false, 1);
      for (const int threads : {1, 2, 3}) {
        INFO(precision << ", batch " << batch << ", " << threads << " threads");
        check_same(trained(o, batch, true, threads), apart);
      }
    }
}

TEST_CASE("a step that halts leaves parameters and states alone", "[updates][halt]") {
  for (const Named& n : optimizers())
    for (const bool label : {false, true}) {
      INFO(n.name << (label ? ", a bad label" : ", a loss that is no number"));
      Training t(net(), options(n.optimizer), 40);
      for (std::uint32_t i = 0; i < 2; ++i) t.step(batch_of(40, i));
      const Training::Memory before = t.memory();
      Batch bad = batch_of(40, 3);
      if (label)
        bad.targets[0].values<std::int32_t>()[39] = classes;
      else
        bad.inputs[0].values<float>()[39 * features] = std::numeric_limits<float>::quiet_NaN();
      t.step(bad);
      CHECK((t.control().halt & (label ? Control::bad_index : Control::not_finite)) != 0);
      const Training::Memory after = t.memory();
      CHECK((after.parameters == before.parameters));
      CHECK((after.states == before.states));
      CHECK((after.gradients != before.gradients));  // the step ran
    }
}

TEST_CASE("programs show the gradients that were taken off", "[updates]") {
  const auto gradients = [](bool fuse) {
    const nn::Sequential model = net();
    CompileOptions o = options(Adam{});
    o.run.fuse = fuse;
    Program p = compile(model, o);
    std::vector<Array> seen;
    for (std::uint32_t i = 0; i < 3; ++i) {
      CHECK(p.step(batch_of(40, i)).updated);
      Batch bad = batch_of(40, i);
      bad.targets[0].values<std::int32_t>()[0] = -1;
      const std::uint64_t before = model.parameters().hash();
      CHECK_THROWS_AS(p.step(bad), DataError);  // costs nothing but itself
      CHECK(model.parameters().hash() == before);
      (void)p.step(batch_of(40, i + 10));
      for (const Parameter& q : model.parameters().list()) {
        seen.push_back(p.gradient(q.name));
        seen.push_back(model.parameters().get(q.name));
      }
    }
    return seen;
  };
  const std::vector<Array> with = gradients(true), apart = gradients(false);
  REQUIRE(with.size() == apart.size());
  for (std::size_t i = 0; i < with.size(); ++i) CHECK(same_bits(with[i], apart[i]));
}
