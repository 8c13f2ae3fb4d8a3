// What a step of the two MNIST models runs: the fused operations, and the same apart, as a provider without epilogues gets
// them.
#include "bench/support/problems.hpp"

#include "tests/case_forms.hpp"

namespace tenon::bench {
namespace {

namespace form = tests::form;
using op::Epilogue;
using op::UnaryFn;

constexpr std::int64_t cnn_batch = 128, mlp_batch = 64;
/// Elements of the parameter slabs: 1,199,882 and 478,410 parameters, each tensor rounded up to a cache line.
constexpr std::int64_t cnn_slab = 1199888, mlp_slab = 478416;

struct List {
  std::vector<BenchProblem> all;
  void add(const std::string& label, tests::Case form) { all.push_back(make_bench_problem(label, std::move(form))); }

  void conv(const std::string& label, const op::Conv2d& c, const Shape& x, const Shape& filter) {
    add(label, form::conv2d(c, x, filter));
    add(label, form::conv2d_grad_filter(c, x, filter));
    add(label, form::conv2d_grad_input(c, x, filter));
  }
  void dense(const std::string& label, const Epilogue& e, std::int64_t batch, std::int64_t in, std::int64_t out) {
    const op::MatMul m{.epilogue = e};
    add(label, form::matmul(m, batch, out, in));
    add(label, form::matmul_grad_b(m, batch, out, in));
    add(label, form::matmul_grad_a(m, batch, out, in));
  }
};

void add_cnn(List& list) {
  const Shape image{cnn_batch, 28, 28, 1}, filter1{3, 3, 1, 32};
  const Shape map1{cnn_batch, 26, 26, 32}, filter2{3, 3, 32, 64}, map2{cnn_batch, 24, 24, 64};
  const Epilogue bias{.bias = true}, relu{.bias = true, .activation = UnaryFn::relu};
  Epilogue pooled = relu, half = relu;
  pooled.pool = true;
  pooled.dropout = 0.25f;
  half.dropout = 0.5f;
  list.conv("conv1_mnist", {.epilogue = relu}, image, filter1);
  list.conv("conv2_mnist", {.epilogue = pooled}, map1, filter2);
  list.dense("dense1_mnist", half, cnn_batch, 9216, 128);
  list.dense("dense2_mnist", bias, cnn_batch, 128, 10);
  list.add("one_hot_mnist", form::softmax_crossentropy(cnn_batch, 10, DType::f32));
  list.add("one_hot_mnist", form::softmax_crossentropy_grad(cnn_batch, 10, DType::f32));
  list.add("one_hot_mnist", form::correct(cnn_batch, 10, DType::f32));
  list.add("loss_mnist", form::reduce({.fn = op::ReduceFn::mean, .axis = 0, .count = 1}, {cnn_batch}));
  list.add("cnn_mnist", form::update(op::AdadeltaUpdate{}, cnn_slab));

  list.conv("conv1_plain_mnist", {}, image, filter1);
  list.conv("conv2_plain_mnist", {}, map1, filter2);
  list.dense("dense1_plain_mnist", {}, cnn_batch, 9216, 128);
  list.add("conv2_mnist", form::bias_add(map2));
  list.add("conv2_mnist", form::bias_grad(map2));
  list.add("conv2_mnist", form::unary({.fn = UnaryFn::relu}, map2));
  list.add("relu_conv2_mnist", form::unary_grad({.fn = UnaryFn::relu}, map2));
  list.add("conv2_mnist", form::pool2d({}, map2));
  list.add("conv2_mnist", form::pool2d_grad({}, map2));
  list.add("flat_mnist", form::dropout(0.25f, 1, {cnn_batch, 9216}));
  list.add("flat_mnist", form::dropout_grad(0.25f, {cnn_batch, 9216}));
}

void add_mlp(List& list) {
  const Epilogue bias{.bias = true}, relu{.bias = true, .activation = UnaryFn::relu};
  list.dense("mlp1_mnist", relu, mlp_batch, 784, 400);
  list.dense("mlp2_mnist", relu, mlp_batch, 400, 400);
  list.dense("mlp3_mnist", bias, mlp_batch, 400, 10);
  list.add("labels_mnist", form::softmax_crossentropy(mlp_batch, 10, DType::i32));
  list.add("labels_mnist", form::softmax_crossentropy_grad(mlp_batch, 10, DType::i32));
  list.add("mlp_mnist", form::update(op::SgdUpdate{}, mlp_slab));
}

}  // namespace

BenchProblem make_bench_problem(const std::string& label, tests::Case form) {
  BenchProblem p;
  p.name = std::string(op::name_of(form.op)) + "/" + label;
  p.problem = make_problem(form.op, form.in);
  p.cost = cost_node(form.op, form.in, {p.problem.out, static_cast<std::size_t>(p.problem.outs)});
  p.form = std::move(form);
  return p;
}

std::vector<BenchProblem> mnist_problems() {
  List list;
  add_cnn(list);
  add_mlp(list);
  return std::move(list.all);
}

std::vector<BenchProblem> large_problems() {
  List list;
  list.add("4096", form::matmul({}, 4096, 4096, 4096));
  return std::move(list.all);
}

std::vector<BenchProblem> test_problems() {
  std::vector<BenchProblem> all;
  for (const tests::Case& c : tests::cases()) {
    // A reshape has no kernel.
    if (std::holds_alternative<op::Reshape>(c.op)) continue;
    BenchProblem p = make_bench_problem("", c);
    std::string label = c.name;
    for (char& letter : label)
      if (letter == ' ') letter = '_';
    p.name += label;
    all.push_back(std::move(p));
  }
  return all;
}

bool is_contraction(op::Kind kind) {
  return kind == op::kind_of<op::Conv2d> || kind == op::kind_of<op::Conv2dGradInput> ||
         kind == op::kind_of<op::Conv2dGradFilter> || kind == op::kind_of<op::MatMul> ||
         kind == op::kind_of<op::MatMulGradA> || kind == op::kind_of<op::MatMulGradB>;
}

}  // namespace tenon::bench
