// The user's own operation: its definition over doubles, whatever the operands' types. This row alone allocates while
// it runs, for the copies in double.
#include <vector>

#include "kernels/reference/support.hpp"
#include "tenon/custom_op.hpp"

namespace tenon::reference {
namespace {

struct CustomState {
  const CustomDef* def;
  Problem problem;
};

/// Calls body(typed pointer) for the element type of `spec`.
template <class Body>
void with_type(DType type, const void* data, Body&& body) {
  switch (type) {
    case DType::f32:
      return body(static_cast<const float*>(data));
    case DType::f64:
      return body(static_cast<const double*>(data));
    case DType::u8:
      return body(static_cast<const std::uint8_t*>(data));
    case DType::i32:
      return body(static_cast<const std::int32_t*>(data));
  }
}

void custom(const Call& call) {
  const auto& state = state_of<CustomState>(call);
  const Problem& p = state.problem;
  std::vector<std::vector<double>> in(static_cast<std::size_t>(p.ins)), out(static_cast<std::size_t>(p.outs));
  std::vector<std::span<const double>> in_spans;
  std::vector<std::span<double>> out_spans;
  for (std::size_t i = 0; i < in.size(); ++i) {
    const std::int64_t n = p.in[i].shape.elements();
    with_type(p.in[i].dtype, call.in[i], [&](const auto* x) { in[i].assign(x, x + n); });
    in_spans.emplace_back(in[i]);
  }
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i].resize(static_cast<std::size_t>(p.out[i].shape.elements()));
    out_spans.emplace_back(out[i]);
  }
  state.def->reference(in_spans, out_spans);
  for (std::size_t i = 0; i < out.size(); ++i)
    with_type(p.out[i].dtype, call.out[i], [&]<class E>(const E*) {
      E* y = static_cast<E*>(call.out[i]);
      for (std::size_t j = 0; j < out[i].size(); ++j) y[j] = static_cast<E>(out[i][j]);
    });
}

Bound bind_custom(const Problem& p, const Kernel&) {
  const CustomDef* def = nullptr;
  std::memcpy(&def, p.attributes, sizeof def);
  if (def == nullptr || !def->reference) return Refusal{"expects a definition with .reference"};
  return make_step(custom, CustomState{def, p});
}

}  // namespace

void append_custom_rows(KernelTable& table) { table.push_back(row<op::CustomOp>(bind_custom)); }

}  // namespace tenon::reference
