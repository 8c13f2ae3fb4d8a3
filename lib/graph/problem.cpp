// Problems: an operation with its specs, flat, as kernels see it.
#include <fmt/format.h>

#include <cstring>

#include "tenon/error.hpp"
#include "tenon/kernel.hpp"
#include "tenon/rules.hpp"

namespace tenon {
namespace {

struct Attributes {
  Problem& p;
  template <class T>
  void operator()(const T& attributes) const {
    static_assert(std::is_trivially_copyable_v<T>, "attributes cross into kernels as bytes");
    static_assert(sizeof(T) <= Problem::attribute_bytes);
    std::memcpy(p.attributes, &attributes, sizeof attributes);
  }
  void operator()(const op::CustomOp& c) const {
    const CustomDef* def = c.def.get();
    std::memcpy(p.attributes, &def, sizeof def);
  }
};

void put(std::int32_t& count, TensorSpec* to, int most, std::span<const TensorSpec> from, const op::AnyOp& any) {
  if (from.size() > static_cast<std::size_t>(most))
    throw UsageError(fmt::format("[{}] expects at most {} operands, found {}", op::name_of(any), most, from.size()));
  for (const TensorSpec& s : from) to[count++] = s;
}

}  // namespace

Problem make_problem(const op::AnyOp& any, std::span<const TensorSpec> in) {
  Problem p;
  p.kind = op::kind(any);
  put(p.ins, p.in, Problem::max_in, in, any);
  put(p.outs, p.out, Problem::max_out, infer_node(any, in), any);
  std::visit(Attributes{p}, any);
  return p;
}

std::string Problem::str() const {
  std::string text(op::name_of(kind));
  for (int i = 0; i < ins; ++i) text += " " + in[i].str();
  text += " ->";
  for (int i = 0; i < outs; ++i) text += " " + out[i].str();
  return text;
}

const char* name_of(Precision p) {
  switch (p) {
    case Precision::fp32:
      return "fp32";
    case Precision::tf32:
      return "tf32";
    case Precision::bf16:
      return "bf16";
    case Precision::fp16:
      return "fp16";
  }
  return "?";
}

Precision precision_of(const std::string& name) {
  for (const Precision p : {Precision::fp32, Precision::tf32, Precision::bf16, Precision::fp16})
    if (name == name_of(p)) return p;
  throw UsageError(fmt::format("[precision] expected fp32, tf32, bf16 or fp16, found '{}'", name));
}

}  // namespace tenon
