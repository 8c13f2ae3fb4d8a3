// The fixed list. Small enough for gradient checks in f64, and each form of an operation once.
#include "tests/cases.hpp"

#include "tests/case_forms.hpp"

namespace tenon::tests {
namespace {

using op::Epilogue;
using op::UnaryFn;

struct List {
  std::vector<Case> all;
  void add(Case c, const std::string& note = {}) {
    if (!note.empty()) c.name += " " + note;
    all.push_back(std::move(c));
  }
};

struct ConvForm {
  const char* note;
  op::Conv2d conv;
  Shape x, filter;
};

void add_conv2d(List& list) {
  const ConvForm forms[] = {
      {"valid", {}, {2, 5, 6, 3}, {3, 3, 3, 4}},
      {"same", {.pad = {1, 1, 1, 1}}, {2, 4, 5, 2}, {3, 3, 2, 3}},
      {"same, even filter", {.pad = {0, 1, 0, 1}}, {1, 4, 4, 2}, {2, 2, 2, 3}},
      {"stride 2", {.stride = {2, 2}}, {2, 7, 6, 2}, {3, 3, 2, 3}},
      {"stride 3x1, explicit padding", {.stride = {3, 1}, .pad = {2, 0, 1, 3}}, {1, 6, 4, 2}, {3, 2, 2, 3}},
      {"dilation 2", {.dilation = {2, 2}}, {1, 7, 6, 2}, {3, 3, 2, 2}},
      {"dilation 3x2, stride 2, padded",
       {.stride = {2, 2}, .dilation = {3, 2}, .pad = {3, 3, 2, 2}},
       {1, 6, 7, 2},
       {3, 3, 2, 2}},
      {"groups 2", {.groups = 2}, {2, 4, 4, 4}, {3, 3, 2, 6}},
      {"depthwise", {.pad = {1, 1, 1, 1}, .groups = 3}, {1, 4, 5, 3}, {3, 3, 1, 3}},
      {"depthwise, multiplier 2", {.groups = 3}, {1, 4, 4, 3}, {2, 2, 1, 6}},
      {"1x1", {}, {2, 3, 4, 5}, {1, 1, 5, 3}},
      {"1x1, stride 2", {.stride = {2, 2}}, {1, 5, 5, 3}, {1, 1, 3, 4}},
      {"filter as large as the image", {}, {3, 4, 3, 2}, {4, 3, 2, 3}},
      {"padding wider than the filter", {.pad = {3, 2, 2, 3}}, {1, 2, 2, 2}, {2, 2, 2, 2}},
      {"17 samples", {}, {17, 3, 3, 1}, {2, 2, 1, 2}},
  };
  for (const ConvForm& f : forms) {
    list.add(form::conv2d(f.conv, f.x, f.filter), f.note);
    list.add(form::conv2d_grad_input(f.conv, f.x, f.filter), f.note);
    list.add(form::conv2d_grad_filter(f.conv, f.x, f.filter), f.note);
  }
}

/// Every combination of bias, activation, pool and dropout that infer() takes.
std::vector<std::pair<std::string, Epilogue>> epilogues(bool with_pool) {
  std::vector<std::pair<std::string, Epilogue>> all;
  const std::pair<UnaryFn, float> activations[] = {{UnaryFn::identity, 0.f},    {UnaryFn::relu, 0.f},
                                                   {UnaryFn::leaky_relu, 0.2f}, {UnaryFn::elu, 0.7f},
                                                   {UnaryFn::sigmoid, 0.f},     {UnaryFn::tanh, 0.f}};
  for (const auto& [fn, alpha] : activations)
    for (const bool bias : {false, true})
      for (const bool pool : {false, true})
        for (const float dropout : {0.f, 0.4f}) {
          const Epilogue e{.bias = bias, .pool = pool, .activation = fn, .alpha = alpha, .dropout = dropout, .site = 3};
          if (pool && !with_pool) continue;
          if (e.saves_mask() && fn != UnaryFn::identity && fn != UnaryFn::relu) continue;
          if (!e.any()) continue;
          all.emplace_back(std::string("with") + (bias ? " bias" : "") +
                               (fn != UnaryFn::identity ? std::string(" ") + op::name_of(fn) : "") +
                               (pool ? " pool" : "") + (dropout > 0 ? " dropout" : ""),
                           e);
        }
  return all;
}

void add_epilogues(List& list) {
  for (const auto& [note, e] : epilogues(true)) {
    const op::Conv2d conv{.pad = {1, 0, 1, 0}, .epilogue = e};
    const Shape x{2, 4, 5, 2}, filter{2, 2, 2, 3};
    list.add(form::conv2d(conv, x, filter), note);
    list.add(form::conv2d_grad_input(conv, x, filter), note);
    list.add(form::conv2d_grad_filter(conv, x, filter), note);
  }
  const Epilogue pooled{.bias = true, .pool = true, .activation = UnaryFn::relu, .dropout = 0.4f, .site = 3};
  const op::Conv2d by_fours{.pad = {0, 1, 2, 0}, .epilogue = pooled};
  list.add(form::conv2d(by_fours, {3, 7, 6, 8}, {2, 3, 8, 4}), "channels by fours");
  list.add(form::conv2d_grad_input(by_fours, {3, 7, 6, 8}, {2, 3, 8, 4}), "channels by fours");
  list.add(form::conv2d_grad_filter(by_fours, {3, 7, 6, 8}, {2, 3, 8, 4}), "channels by fours");
  for (const auto& [note, e] : epilogues(false)) {
    const op::MatMul product{.epilogue = e};
    list.add(form::matmul(product, 4, 3, 5), note);
    list.add(form::matmul_grad_a(product, 4, 3, 5), note);
    list.add(form::matmul_grad_b(product, 4, 3, 5), note);
  }
  for (const float dropout : {0.f, 0.4f}) {
    const op::MatMul product{.epilogue = {.bias = true, .activation = UnaryFn::relu, .dropout = dropout, .site = 3}};
    list.add(form::matmul(product, 8, 12, 20), "by fours");
    list.add(form::matmul_grad_a(product, 8, 12, 20), "by fours");
    list.add(form::matmul_grad_b(product, 8, 12, 20), "by fours");
  }
}

void add_matmul(List& list) {
  for (const bool ta : {false, true})
    for (const bool tb : {false, true}) {
      const op::MatMul o{.transpose_a = ta, .transpose_b = tb};
      const std::string note = std::string(ta ? "a transposed " : "") + (tb ? "b transposed" : "");
      list.add(form::matmul(o, 3, 4, 5), note);
      list.add(form::matmul_grad_a(o, 3, 4, 5), note);
      list.add(form::matmul_grad_b(o, 3, 4, 5), note);
      op::MatMul dense = o;
      dense.epilogue = {.bias = true, .activation = UnaryFn::relu};
      list.add(form::matmul(dense, 5, 2, 3), note + " with bias relu");
      list.add(form::matmul_grad_a(dense, 5, 2, 3), note + " with bias relu");
      list.add(form::matmul_grad_b(dense, 5, 2, 3), note + " with bias relu");
    }
  list.add(form::matmul({}, 1, 1, 1));
  list.add(form::matmul({}, 1, 7, 2100), "three chunks");
  list.add(form::bias_add({3, 5}));
  list.add(form::bias_add({2, 3, 2, 4}));
  list.add(form::bias_grad({6, 5}));
  list.add(form::bias_grad({9, 2, 2, 3}));
}

void add_pool2d(List& list) {
  struct PoolForm {
    const char* note;
    op::Pool2d pool;
    Shape x;
  };
  const PoolForm forms[] = {
      {"2x2", {}, {2, 4, 6, 3}},
      {"2x2, odd image", {}, {1, 5, 5, 2}},
      {"3x3, stride 2, same", {.window = {3, 3}, .stride = {2, 2}, .pad = {1, 1, 0, 1}}, {1, 5, 4, 2}},
      {"3x2, stride 1", {.window = {3, 2}, .stride = {1, 1}}, {1, 4, 4, 2}},
      {"stride wider than the window", {.window = {2, 1}, .stride = {3, 2}}, {1, 8, 5, 2}},
      {"global", {.window = {4, 3}, .stride = {4, 3}}, {3, 4, 3, 2}},
      {"explicit padding", {.window = {3, 3}, .stride = {2, 1}, .pad = {2, 1, 1, 2}}, {1, 3, 4, 2}},
  };
  for (const op::PoolFn fn : {op::PoolFn::max, op::PoolFn::avg})
    for (PoolForm f : forms) {
      f.pool.fn = fn;
      const std::string note = std::string(fn == op::PoolFn::max ? "max " : "mean ") + f.note;
      list.add(form::pool2d(f.pool, f.x), note);
      list.add(form::pool2d_grad(f.pool, f.x), note);
    }
}

void add_pointwise(List& list) {
  for (int i = 0; i <= static_cast<int>(UnaryFn::abs); ++i) {
    const op::Unary o{static_cast<UnaryFn>(i), i == static_cast<int>(UnaryFn::leaky_relu) ? 0.2f : 1.3f, -0.4f};
    list.add(form::unary(o, {3, 7}));
    if (o.fn != UnaryFn::identity && o.fn != UnaryFn::affine) list.add(form::unary_grad(o, {3, 7}), op::name_of(o.fn));
  }
  for (const op::BinaryFn fn : {op::BinaryFn::add, op::BinaryFn::sub, op::BinaryFn::mul, op::BinaryFn::div}) {
    list.add(form::binary(fn, {2, 3, 4}, {2, 3, 4}));
    list.add(form::binary(fn, {2, 3, 4}, {4}));
    list.add(form::binary(fn, {2, 1, 4}, {3, 1}));
    list.add(form::binary(fn, {}, {2, 3}));
    list.add(form::binary(fn, {5, 1}, {1, 6}));
  }
  using Chain = op::PointwiseChain;
  const auto unary = [](Chain::Form form, UnaryFn fn, int a, int b) {
    return Chain::Instruction{
        form, static_cast<std::uint8_t>(fn), static_cast<std::uint8_t>(a), static_cast<std::uint8_t>(b), 1.3f, -0.4f};
  };
  const auto binary = [](op::BinaryFn fn, int a, int b) {
    return Chain::Instruction{Chain::Form::binary, static_cast<std::uint8_t>(fn), static_cast<std::uint8_t>(a),
                              static_cast<std::uint8_t>(b)};
  };
  using enum op::BinaryFn;
  list.add(form::pointwise_chain({2, {unary(Chain::Form::unary, UnaryFn::sigmoid, 0, 0), binary(mul, 0, 8)}}, {{3, 7}}),
           "x sigmoid(x)");
  list.add(form::pointwise_chain({4,
                                  {binary(mul, 0, 1), binary(mul, 0, 2),
                                   unary(Chain::Form::unary_grad, UnaryFn::sigmoid, 9, 1), binary(add, 8, 10)}},
                                 {{3, 7}, {3, 7}, {3, 7}}),
           "gradient of x sigmoid(x)");
  list.add(form::pointwise_chain(
               {3, {unary(Chain::Form::unary, UnaryFn::affine, 0, 0), binary(mul, 1, 8), binary(sub, 9, 2)}},
               {{2, 5}, {}, {1}}),
           "single values");
  list.add(form::pointwise_chain(
               {3, {binary(add, 0, 1), binary(mul, 8, 8), unary(Chain::Form::unary, UnaryFn::exp, 9, 9)}}, {{}, {1}}),
           "one element");
  list.add(form::dropout(0.3f, 2, {4, 9}));
  list.add(form::dropout_grad(0.3f, {4, 9}));
}

void add_rows(List& list) {
  for (const bool log : {false, true}) {
    const std::string note = log ? "logarithm" : "";
    list.add(form::softmax(log, {4, 10}), note);
    list.add(form::softmax(log, {2, 3, 5}), note);
    list.add(form::softmax(log, {7}), note);
    list.add(form::softmax_grad(log, {4, 10}), note);
    list.add(form::softmax_grad(log, {2, 3, 5}), note);
  }
  for (const DType d : {DType::i32, DType::u8, DType::f32}) {
    list.add(form::softmax_crossentropy(5, 10, d));
    list.add(form::softmax_crossentropy_grad(5, 10, d));
    list.add(form::correct(6, 4, d));
  }
  list.add(form::pair_loss(op::kind_of<op::SigmoidCrossEntropy>, {4, 3}));
  list.add(form::pair_loss(op::kind_of<op::SigmoidCrossEntropyGrad>, {4, 3}));
  list.add(form::pair_loss(op::kind_of<op::BinaryCrossEntropy>, {4, 3}));
  list.add(form::pair_loss(op::kind_of<op::BinaryCrossEntropyGrad>, {4, 3}));
}

void add_shape(List& list) {
  list.add({"reshape", op::Reshape{{3, 8}}, {{DType::f32, {2, 3, 4}}}, {Fill{}}});
  list.add(form::transpose({{1, 0}}, {3, 5}));
  list.add(form::transpose({{0, 2, 3, 1}}, {2, 3, 2, 4}));
  list.add(form::transpose({{2, 0, 1}}, {2, 3, 4}));
  list.add(form::concat(0, {{2, 3}, {1, 3}}));
  list.add(form::concat(1, {{2, 3}, {2, 1}, {2, 4}}));
  list.add(form::concat(2, {{2, 2, 3}, {2, 2, 2}}));
  list.add(form::slice({.axis = 0, .begin = 1, .length = 2}, {4, 3}));
  list.add(form::slice({.axis = 2, .begin = 0, .length = 2}, {2, 3, 5}));
  list.add(form::slice_grad({.axis = 1, .begin = 2, .length = 3}, {2, 6, 2}));
  list.add(form::gather({5, 3}, {4}));
  list.add(form::gather({4}, {2, 3}));
  list.add(form::gather_grad({5, 3}, {7}));
  list.add(form::gather_grad({4, 2, 2}, {2, 3}));
  list.add(form::broadcast_to({3, 1}, {2, 3, 4}));
  list.add(form::broadcast_to({}, {3, 2}));
  for (const op::ReduceFn fn : {op::ReduceFn::sum, op::ReduceFn::mean, op::ReduceFn::max, op::ReduceFn::min}) {
    list.add(form::reduce({.fn = fn, .axis = 0, .count = 2}, {4, 5}));
    list.add(form::reduce({.fn = fn, .axis = 1, .count = 1}, {4, 5}));
    list.add(form::reduce({.fn = fn, .axis = 0, .count = 1, .keepdims = true}, {4, 5}));
    list.add(form::reduce({.fn = fn, .axis = 1, .count = 2, .keepdims = true}, {2, 3, 4, 2}));
  }
  for (const op::ReduceFn fn : {op::ReduceFn::max, op::ReduceFn::min}) {
    list.add(form::reduce_select_grad({.fn = fn, .axis = 1, .count = 1}, {4, 5}));
    list.add(form::reduce_select_grad({.fn = fn, .axis = 0, .count = 2, .keepdims = true}, {3, 2, 4}));
  }
}

void add_updates(List& list) {
  const op::UpdateCommon plain{}, full{.lr_scale = 0.5f, .weight_decay = 0.01f, .clipped = true};
  for (const op::UpdateCommon& common : {plain, full}) {
    list.add(form::update(op::SgdUpdate{common}, 37));
    list.add(form::update(op::SgdUpdate{common, 0.9f, false}, 37), "momentum");
    list.add(form::update(op::SgdUpdate{common, 0.9f, true}, 37), "nesterov");
    list.add(form::update(op::AdadeltaUpdate{common}, 37));
    list.add(form::update(op::AdagradUpdate{common}, 37));
    list.add(form::update(op::RmspropUpdate{.common = common}, 37));
    list.add(form::update(op::RmspropUpdate{.common = common, .momentum = 0.8f, .epsilon_inside = false}, 37),
             "momentum");
    list.add(form::update(op::AdamUpdate{.common = common}, 37));
    list.add(form::update(op::AdamUpdate{.common = common, .decoupled = true}, 37), "decoupled");
  }
  list.add(form::update(op::AccumulateGrad{0.25f}, 37));
  list.add(form::update(op::ClipNorm{0.5f}, 37));
  list.add(form::update(op::ClipNorm{100.f}, 37), "not reached");
  list.add(form::update(op::AssignEma{0.9f}, 37));
  list.add(form::update(op::CheckFinite{}, 1));
  list.add(form::update(op::UnscaleGrad{0x1p-10f}, 37));
}

void add_large_matmul(List& list) {
  struct Size {
    int64_t m, n, k;
    const char* note;
  };
  const Size sizes[] = {{300, 290, 1100, "two chunks, blocks of rows and columns"},
                        {45, 130, 3100, "small and long"},
                        {600, 40, 200, "tall"},
                        {40, 2100, 70, "wide"},
                        {2, 400, 1100, "two rows"},
                        {3, 210, 64, "three rows"}};
  for (const Size& s : sizes)
    for (const bool ta : {false, true})
      for (const bool tb : {false, true}) {
        const op::MatMul o{
            .transpose_a = ta, .transpose_b = tb, .epilogue = {.bias = true, .activation = UnaryFn::relu}};
        list.add(form::matmul(o, s.m, s.n, s.k), s.note);
        list.add(form::matmul_grad_a(o, s.m, s.n, s.k), s.note);
        list.add(form::matmul_grad_b(o, s.m, s.n, s.k), s.note);
      }
}

/// Channels and filters as networks have them, more than one panel of everything; two sample groups.
void add_large_conv2d(List& list) {
  const op::Epilogue plain{}, relu{.bias = true, .activation = UnaryFn::relu},
      dropped{.bias = true, .activation = UnaryFn::relu, .dropout = 0.5f, .site = 3};
  const op::Epilogue pooled{.bias = true, .pool = true, .activation = UnaryFn::relu, .dropout = 0.25f, .site = 2};
  const auto all = [&](const op::Conv2d& o, const Shape& x, const Shape& filter, const char* note) {
    list.add(form::conv2d(o, x, filter), note);
    list.add(form::conv2d_grad_input(o, x, filter), note);
    list.add(form::conv2d_grad_filter(o, x, filter), note);
  };
  for (const op::Epilogue& e : {plain, relu, dropped, pooled})
    all({.epilogue = e}, {9, 12, 13, 32}, {3, 3, 32, 40}, "channels");
  all({.epilogue = pooled}, {2, 13, 140, 16}, {3, 3, 16, 20}, "channels, bands of rows");
  all({.stride = {2, 2}, .pad = {1, 1, 1, 1}, .epilogue = relu}, {2, 15, 14, 48}, {3, 3, 48, 33}, "stride");
  all({.stride = {3, 2}, .dilation = {2, 3}, .pad = {2, 1, 0, 3}, .epilogue = relu}, {2, 17, 19, 17}, {2, 3, 17, 70},
      "stride and dilation");
  all({.stride = {2, 2}, .epilogue = plain}, {3, 11, 10, 64}, {1, 1, 64, 129}, "one tap, stride");
}

/// First layers: few channels, filters by fours; two sample groups, odd extents, more filters than a block has.
void add_few_channels(List& list) {
  const op::Epilogue plain{}, relu{.bias = true, .activation = UnaryFn::relu},
      dropped{.bias = true, .activation = UnaryFn::relu, .dropout = 0.5f, .site = 3},
      pooled{.bias = true, .pool = true, .activation = UnaryFn::relu, .dropout = 0.25f, .site = 2},
      only_pooled{.pool = true};
  const auto all = [&](const op::Conv2d& o, const Shape& x, const Shape& filter, const char* note) {
    list.add(form::conv2d(o, x, filter), note);
    list.add(form::conv2d_grad_filter(o, x, filter), note);
  };
  for (const op::Epilogue& e : {plain, relu, dropped, pooled, only_pooled})
    all({.epilogue = e}, {9, 13, 15, 1}, {3, 3, 1, 36}, "few channels");
  all({.epilogue = relu}, {2, 28, 28, 1}, {3, 3, 1, 32}, "few channels, digits");
  all({.stride = {2, 2}, .pad = {3, 3, 3, 3}, .epilogue = relu}, {9, 23, 22, 3}, {7, 7, 3, 12},
      "few channels, stride 2");
  all({.pad = {0, 4, 1, 2}, .epilogue = pooled}, {10, 12, 17, 2}, {5, 5, 2, 64}, "few channels, 5x5");
  all({.stride = {3, 1}, .dilation = {2, 1}, .pad = {1, 2, 0, 1}, .epilogue = relu}, {17, 16, 9, 4}, {2, 2, 4, 4},
      "few channels, stride and dilation");
  all({.stride = {1, 3}, .dilation = {1, 2}, .pad = {1, 0, 4, 1}, .epilogue = relu}, {3, 9, 31, 3}, {3, 3, 3, 8},
      "few channels, stride and dilation across");
  all({.stride = {2, 2}, .epilogue = dropped}, {8, 9, 9, 3}, {1, 1, 3, 8}, "few channels, one tap");
  all({.stride = {1, 2}}, {12, 6, 27, 1}, {4, 6, 1, 8}, "few channels, wide filter");
  all({}, {1, 70, 66, 1}, {3, 3, 1, 4}, "few channels, one image");
  all({.epilogue = relu}, {300, 4, 5, 1}, {3, 3, 1, 48}, "few channels, many samples");
}

}  // namespace

const std::vector<Case>& large_cases() {
  static const std::vector<Case> all = [] {
    List list;
    add_large_matmul(list);
    add_large_conv2d(list);
    add_few_channels(list);
    return list.all;
  }();
  return all;
}

const std::vector<Case>& cases() {
  static const std::vector<Case> all = [] {
    List list;
    add_conv2d(list);
    add_epilogues(list);
    add_matmul(list);
    add_pool2d(list);
    add_pointwise(list);
    add_rows(list);
    add_shape(list);
    add_updates(list);
    return list.all;
  }();
  return all;
}

}  // namespace tenon::tests
