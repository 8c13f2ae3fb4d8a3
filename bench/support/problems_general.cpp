// Every operation that has a kernel, in the forms that kernels treat apart, at about a million elements, and the
// contractions of two known networks.
#include "bench/support/network_shapes.hpp"
#include "bench/support/problems.hpp"
#include "tests/case_forms.hpp"

namespace tenon::bench {
namespace {

namespace form = tests::form;
using op::PoolFn;
using op::ReduceFn;
using op::UnaryFn;

struct List {
  std::vector<BenchProblem> all;
  void add(const std::string& label, tests::Case form) { all.push_back(make_bench_problem(label, std::move(form))); }
};

constexpr std::int64_t million = 1 << 20;
const Shape square{1024, 1024}, map{16, 56, 56, 64};

void add_contractions(List& list) {
  struct ConvForm {
    const char* label;
    op::Conv2d conv;
    Shape x, filter;
  };
  const ConvForm forms[] = {
      {"same_56x56x64", {.pad = {1, 1, 1, 1}}, {4, 56, 56, 64}, {3, 3, 64, 64}},
      {"stride2_56x56x64", {.stride = {2, 2}, .pad = {0, 1, 0, 1}}, {8, 56, 56, 64}, {3, 3, 64, 128}},
      {"dilated_56x56x64", {.dilation = {2, 2}, .pad = {2, 2, 2, 2}}, {4, 56, 56, 64}, {3, 3, 64, 64}},
      {"groups4_56x56x64", {.pad = {1, 1, 1, 1}, .groups = 4}, {8, 56, 56, 64}, {3, 3, 16, 64}},
      {"depthwise_56x56x64", {.pad = {1, 1, 1, 1}, .groups = 64}, {8, 56, 56, 64}, {3, 3, 1, 64}},
      {"1x1_56x56x64", {}, {8, 56, 56, 64}, {1, 1, 64, 128}},
      {"7x7_112x112x3", {.stride = {2, 2}, .pad = {3, 3, 3, 3}}, {8, 112, 112, 3}, {7, 7, 3, 64}},
  };
  for (const ConvForm& f : forms) {
    list.add(f.label, form::conv2d(f.conv, f.x, f.filter));
    list.add(f.label, form::conv2d_grad_filter(f.conv, f.x, f.filter));
    list.add(f.label, form::conv2d_grad_input(f.conv, f.x, f.filter));
  }
  for (const bool ta : {false, true})
    for (const bool tb : {false, true}) {
      const op::MatMul m{.transpose_a = ta, .transpose_b = tb};
      const std::string label = std::string("512") + (ta ? "_at" : "") + (tb ? "_bt" : "");
      list.add(label, form::matmul(m, 512, 512, 512));
      list.add(label, form::matmul_grad_a(m, 512, 512, 512));
      list.add(label, form::matmul_grad_b(m, 512, 512, 512));
    }
}

void add_networks(List& list) {
  for (const ConvShape& s : network_convs) {
    const op::Conv2d conv{.stride = {s.stride, s.stride}, .pad = {s.pad, s.pad, s.pad, s.pad}, .groups = s.groups};
    const Shape x{s.batch, s.side, s.side, s.channels};
    const Shape filter{s.kernel, s.kernel, s.channels / s.groups, s.filters};
    list.add(s.label, form::conv2d(conv, x, filter));
    list.add(s.label, form::conv2d_grad_filter(conv, x, filter));
    if (!s.first) list.add(s.label, form::conv2d_grad_input(conv, x, filter));
  }
  for (const MatMulShape& s : network_matmuls) {
    list.add(s.label, form::matmul({}, s.m, s.n, s.k));
    list.add(s.label, form::matmul_grad_a({}, s.m, s.n, s.k));
    list.add(s.label, form::matmul_grad_b({}, s.m, s.n, s.k));
  }
}

void add_pointwise(List& list) {
  for (int i = 1; i <= static_cast<int>(UnaryFn::abs); ++i) {
    const op::Unary u{static_cast<UnaryFn>(i), 1.3f, -0.4f};
    list.add("1M", form::unary(u, {million}));
    if (u.fn != UnaryFn::affine) list.add(std::string(op::name_of(u.fn)) + "_1M", form::unary_grad(u, {million}));
  }
  for (const op::BinaryFn fn : {op::BinaryFn::add, op::BinaryFn::sub, op::BinaryFn::mul, op::BinaryFn::div}) {
    list.add("same_1M", form::binary(fn, square, square));
    list.add("row_1M", form::binary(fn, square, {1024}));
    list.add("column_1M", form::binary(fn, square, {1024, 1}));
  }
  list.add("1M", form::bias_add(square));
  list.add("1M", form::bias_grad(square));
  list.add("1M", form::dropout(0.5f, 1, {million}));
  list.add("1M", form::dropout_grad(0.5f, {million}));
  for (const op::Kind k : {op::kind_of<op::SigmoidCrossEntropy>, op::kind_of<op::SigmoidCrossEntropyGrad>,
                           op::kind_of<op::BinaryCrossEntropy>, op::kind_of<op::BinaryCrossEntropyGrad>})
    list.add("1M", form::pair_loss(k, {million}));
}

void add_rows(List& list) {
  for (const bool log : {false, true}) {
    list.add("1024x1000", form::softmax(log, {1024, 1000}));
    list.add(log ? "log_1024x1000" : "1024x1000", form::softmax_grad(log, {1024, 1000}));
  }
  list.add("1024x1000", form::softmax_crossentropy(1024, 1000, DType::i32));
  list.add("1024x1000", form::softmax_crossentropy_grad(1024, 1000, DType::i32));
  list.add("1024x1000", form::correct(1024, 1000, DType::i32));
  for (const ReduceFn fn : {ReduceFn::sum, ReduceFn::mean, ReduceFn::max, ReduceFn::min}) {
    list.add("columns_1M", form::reduce({.fn = fn, .axis = 0, .count = 1}, square));
    list.add("rows_1M", form::reduce({.fn = fn, .axis = 1, .count = 1}, square));
    list.add("all_1M", form::reduce({.fn = fn, .axis = 0, .count = 2}, square));
  }
  list.add("max_rows_1M", form::reduce_select_grad({.fn = ReduceFn::max, .axis = 1, .count = 1}, square));
}

void add_pools(List& list) {
  for (const PoolFn fn : {PoolFn::max, PoolFn::avg}) {
    const std::string kind = fn == PoolFn::max ? "max_" : "mean_";
    const std::pair<const char*, op::Pool2d> forms[] = {
        {"2x2_56x56x64", {.fn = fn}},
        {"3x3s2_56x56x64", {.fn = fn, .window = {3, 3}, .stride = {2, 2}}},
        {"global_56x56x64", {.fn = fn, .window = {56, 56}, .stride = {56, 56}}}};
    for (const auto& [label, pool] : forms) {
      list.add(label, form::pool2d(pool, map));
      list.add(kind + label, form::pool2d_grad(pool, map));
    }
  }
}

void add_shape(List& list) {
  list.add("matrix_1M", form::transpose({{1, 0}}, square));
  list.add("nhwc_to_nchw", form::transpose({{0, 3, 1, 2}}, map));
  list.add("rows_1M", form::concat(0, {{512, 1024}, {512, 1024}}));
  list.add("columns_1M", form::concat(1, {{1024, 512}, {1024, 512}}));
  list.add("columns_1M", form::slice({.axis = 1, .begin = 256, .length = 512}, {1024, 2048}));
  list.add("columns_1M", form::slice_grad({.axis = 1, .begin = 256, .length = 512}, {1024, 2048}));
  list.add("8192_of_10000x128", form::gather({10000, 128}, {8192}));
  list.add("8192_of_10000x128", form::gather_grad({10000, 128}, {8192}));
  list.add("column_1M", form::broadcast_to({1024, 1}, square));
  list.add("row_1M", form::broadcast_to({1024}, square));
}

void add_updates(List& list) {
  list.add("1M", form::update(op::SgdUpdate{}, million));
  list.add("momentum_1M", form::update(op::SgdUpdate{{}, 0.9f, false}, million));
  list.add("nesterov_1M", form::update(op::SgdUpdate{{}, 0.9f, true}, million));
  list.add("1M", form::update(op::AdadeltaUpdate{}, million));
  list.add("clipped_1M", form::update(op::AdadeltaUpdate{{.weight_decay = 0.01f, .clipped = true}}, million));
  list.add("1M", form::update(op::AdagradUpdate{}, million));
  list.add("1M", form::update(op::RmspropUpdate{}, million));
  list.add("1M", form::update(op::AdamUpdate{}, million));
  list.add("decoupled_1M", form::update(op::AdamUpdate{.common = {.weight_decay = 0.01f}, .decoupled = true}, million));
  list.add("1M", form::update(op::AccumulateGrad{0.25f}, million));
  list.add("1M", form::update(op::ClipNorm{1.f}, million));
  list.add("1M", form::update(op::AssignEma{0.9f}, million));
  list.add("1M", form::update(op::UnscaleGrad{}, million));  // by 1: the runs of a benchmark must not fade to nothing
  list.add("scalar", form::update(op::CheckFinite{}, 1));
}

}  // namespace

std::vector<BenchProblem> general_problems() {
  List list;
  add_contractions(list);
  add_networks(list);
  add_pools(list);
  add_pointwise(list);
  add_rows(list);
  add_shape(list);
  add_updates(list);
  return std::move(list.all);
}

}  // namespace tenon::bench
