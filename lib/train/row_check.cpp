// Guarded runs and comparisons.
#include "lib/train/row_check.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <new>

#include "lib/runtime/slab.hpp"
#include "tenon/error.hpp"

namespace tenon {
namespace {

constexpr std::size_t guard_bytes = 4096, alignment = 64;

bool floating(DType d) { return d == DType::f32 || d == DType::f64; }
/// 0xFF.. is NaN in both float types; integers get something else, because 255 means `killed` in a mask.
int poison(DType d) { return floating(d) ? 0xFF : 0xA5; }

/// Memory between two canaries, the second right behind the last byte.
class Guarded {
 public:
  Guarded(std::size_t bytes, DType dtype) : bytes_(bytes), fill_(poison(dtype)) {
    memory_.reset(static_cast<std::byte*>(::operator new (total(), std::align_val_t{alignment})));
    std::memset(memory_.get(), fill_, total());
  }
  [[nodiscard]] std::byte* data() const { return memory_.get() + guard_bytes; }
  /// The same block on a device, canaries and all: where its data lies there. On the host it is this block itself.
  [[nodiscard]] std::byte* give_to(Backend& device) {
    if (device.on_host()) return data();
    copy_ = Slab(device, total());
    device.upload(copy_.data(), memory_.get(), total());
    return copy_.data() + guard_bytes;
  }
  void take_from(Backend& device) {
    if (!device.on_host()) device.download(memory_.get(), copy_.data(), total());
  }
  [[nodiscard]] bool intact() const { return whole(memory_.get()) && whole(data() + bytes_); }

 private:
  struct Release {
    void operator()(std::byte* p) const { ::operator delete (p, std::align_val_t{alignment}); }
  };
  [[nodiscard]] std::size_t total() const { return 2 * guard_bytes + (bytes_ + alignment) / alignment * alignment; }
  [[nodiscard]] bool whole(const std::byte* zone) const {
    return std::all_of(zone, zone + guard_bytes, [&](std::byte b) { return b == static_cast<std::byte>(fill_); });
  }

  std::unique_ptr<std::byte, Release> memory_;
  std::size_t bytes_;
  int fill_;
  Slab copy_;
};

std::string element(const Array& a, std::int64_t i, int output) {
  return fmt::format("output {} {} element {}", output, a.spec().str(), i);
}

}  // namespace

RowRun run_row(const Problem& p, const Step& step, const std::vector<Array>& in, const Control& control, int threads,
               Backend& device) {
  const std::lock_guard lock(device.mutex());
  std::vector<Guarded> operands;
  operands.reserve(static_cast<std::size_t>(p.ins + p.outs));
  std::vector<const void*> in_pointers;
  std::vector<void*> out_pointers;
  std::vector<std::size_t> operand_of_out;
  for (const Array& a : in) {
    operands.emplace_back(a.spec().bytes(), a.dtype());
    std::memcpy(operands.back().data(), a.bytes(), a.spec().bytes());
    in_pointers.push_back(operands.back().give_to(device));
  }
  std::vector<bool> written(in.size());
  for (int i = 0; i < p.outs; ++i) {
    const int shared = shared_input(p, i);
    if (shared >= 0) {
      const auto operand = static_cast<std::size_t>(shared);
      written[operand] = true;
      out_pointers.push_back(const_cast<void*>(in_pointers[operand]));
      operand_of_out.push_back(operand);
    } else {
      operands.emplace_back(p.out[i].bytes(), p.out[i].dtype);
      out_pointers.push_back(operands.back().give_to(device));
      operand_of_out.push_back(operands.size() - 1);
    }
  }
  Guarded workspace(step.workspace, DType::f32), control_block(sizeof(Control), DType::i32);
  std::memcpy(control_block.data(), &control, sizeof control);
  const Call call{.in = in_pointers.data(),
                  .out = out_pointers.data(),
                  .workspace = workspace.give_to(device),
                  .control = reinterpret_cast<Control*>(control_block.give_to(device)),
                  .state = step.state.get(),
                  .threads = threads,
                  .stream = device.stream()};
  step.run(call);
  for (Guarded& g : operands) g.take_from(device);
  workspace.take_from(device);
  control_block.take_from(device);
  device.synchronize();

  RowRun result;
  std::memcpy(&result.control, control_block.data(), sizeof control);
  for (std::size_t i = 0; i < operands.size(); ++i)
    if (!operands[i].intact()) result.fault = fmt::format("wrote outside operand {}", i);
  if (!workspace.intact()) result.fault = fmt::format("wrote outside its workspace of {} bytes", step.workspace);
  if (!control_block.intact()) result.fault = "wrote outside the control block";
  for (std::size_t i = 0; i < in.size(); ++i)
    if (!written[i] && std::memcmp(operands[i].data(), in[i].bytes(), in[i].spec().bytes()) != 0)
      result.fault = fmt::format("wrote to input {}", i);
  for (int i = 0; i < p.outs; ++i) {
    Array a(p.out[i]);
    std::memcpy(a.bytes(), operands[operand_of_out[static_cast<std::size_t>(i)]].data(), p.out[i].bytes());
    result.out.push_back(std::move(a));
  }
  return result;
}

std::vector<Array> widened(const std::vector<Array>& arrays) {
  std::vector<Array> out;
  for (const Array& a : arrays) {
    if (a.dtype() != DType::f32) {
      out.push_back(a);
      continue;
    }
    Array wide(DType::f64, a.shape());
    std::ranges::copy(a.values<float>(), wide.values<double>().begin());
    out.push_back(std::move(wide));
  }
  return out;
}

std::vector<TensorSpec> specs_of(const std::vector<Array>& arrays) {
  std::vector<TensorSpec> specs;
  for (const Array& a : arrays) specs.push_back(a.spec());
  return specs;
}

RowRun run_reference(const op::AnyOp& any, const std::vector<Array>& in, const Control& control, int threads) {
  Problem p = make_problem(any, specs_of(in));
  p.threads = threads;
  std::string why = "there is no such row";
  for (const Kernel& row : backend("cpu").kernels()) {
    if (row.op != p.kind || row.provider != "reference") continue;
    const Bound bound = row.bind(p, row);
    if (const Step* step = std::get_if<Step>(&bound)) return run_row(p, *step, in, control, threads);
    why = std::get<Refusal>(bound).why;
  }
  throw UsageError(fmt::format("[{}] the reference does not take {}: {}", op::name_of(any), p.str(), why));
}

Arithmetic arithmetic_of(const Kernel& row) {
  if (row.precision == Precision::bf16) return Arithmetic::bf16;
  if (row.precision == Precision::fp16) return Arithmetic::fp16;
  if (row.precision == Precision::fp32) return Arithmetic::fp32;
  if (row.provider.starts_with("cuda.")) return Arithmetic::tf32;
  return row.provider.starts_with("cpu.amx") ? Arithmetic::split : Arithmetic::winograd;
}

Comparison compare_bits(const std::vector<Array>& found, const std::vector<Array>& expected) {
  for (std::size_t o = 0; o < expected.size(); ++o) {
    const Array &f = found[o], &e = expected[o];
    if (f.spec() == e.spec() && std::memcmp(f.bytes(), e.bytes(), e.spec().bytes()) == 0) continue;
    for (std::int64_t i = 0; i < e.size(); ++i) {
      const double a = f.at(i), b = e.at(i);  // exact, so equal doubles are equal floats
      if (a == b || (std::isnan(a) && std::isnan(b))) continue;
      return {std::numeric_limits<double>::infinity(),
              fmt::format("{}: found {:.9g}, reference {:.9g}", element(e, i, static_cast<int>(o)), a, b)};
    }
  }
  return {};
}

namespace {

const op::Epilogue* masked_epilogue(const op::AnyOp& any) {
  const op::Epilogue* e = nullptr;
  if (const auto* conv = std::get_if<op::Conv2d>(&any)) e = &conv->epilogue;
  if (const auto* product = std::get_if<op::MatMul>(&any)) e = &product->epilogue;
  return e != nullptr && e->saves_mask() ? e : nullptr;
}

/// Values before pool and dropout, for the mask's rules.
op::AnyOp without_tail(op::AnyOp any) {
  const auto cut = [](op::Epilogue& e) {
    e.pool = false;
    e.dropout = 0.f;
  };
  if (auto* conv = std::get_if<op::Conv2d>(&any)) cut(conv->epilogue);
  if (auto* product = std::get_if<op::MatMul>(&any)) cut(product->epilogue);
  return any;
}

/// A mask may differ from the exact one where two candidates of a window, or a value and relu's gate at 0, lie within
/// the bound of each other; never where dropout decides.
class MaskRule {
 public:
  MaskRule(const op::AnyOp& any, const op::Epilogue& e, const std::vector<Array>& in, const Array& exact_mask,
           const Array& bound, const Control& control)
      : epilogue_(e), mask_(exact_mask), bound_(bound) {
    map_ = run_reference(without_tail(any), in, control).out[0];
    if (e.dropout > 0.f) {
      op::AnyOp no_relu = any;
      std::visit(
          [](auto& o) {
            if constexpr (requires { o.epilogue; }) o.epilogue.activation = op::UnaryFn::identity;
          },
          no_relu);
      dropped_ = run_reference(no_relu, in, control).out[1];
    }
  }

  [[nodiscard]] bool allows(std::int64_t i, std::uint8_t found) const {
    const double slack = 2 * bound_.at(i);
    const bool dropped = !dropped_.empty() && dropped_.at(i) == op::Epilogue::killed;
    if (dropped) return found == op::Epilogue::killed;
    double best = value(i, 0);
    for (int w = 1; w < windows(); ++w) best = std::max(best, value(i, w));
    if (found == op::Epilogue::killed) return epilogue_.activation == op::UnaryFn::relu && best <= slack;
    return found < windows() && value(i, found) >= best - slack;
  }

 private:
  [[nodiscard]] int windows() const { return epilogue_.pool ? 4 : 1; }
  /// Candidate w of output i.
  [[nodiscard]] double value(std::int64_t i, int w) const {
    if (!epilogue_.pool) return map_.at(i);
    const Shape &y = mask_.shape(), &z = map_.shape();
    const std::int64_t k = i % y[3], x = i / y[3] % y[2], row = i / y[3] / y[2];
    const std::int64_t n = row / y[1], line = row % y[1] * 2 + w / 2;
    return map_.at(((n * z[1] + line) * z[2] + x * 2 + w % 2) * z[3] + k);
  }

  const op::Epilogue& epilogue_;
  const Array &mask_, &bound_;
  Array map_, dropped_;
};

}  // namespace

Comparison compare_bounded(const op::AnyOp& any, const std::vector<Array>& in, const std::vector<Array>& found,
                           const std::vector<Array>& exact, const Control& control, Arithmetic arithmetic) {
  const std::vector<Array> bounds = error_bounds(any, in, exact, control, arithmetic);
  std::optional<MaskRule> rule;
  if (const op::Epilogue* e = masked_epilogue(any)) rule.emplace(any, *e, in, exact[1], bounds[0], control);
  Comparison c;
  for (std::size_t o = 0; o < exact.size(); ++o)
    for (std::int64_t i = 0; i < exact[o].size(); ++i) {
      const double f = found[o].at(i), e = exact[o].at(i);
      if (f == e || (std::isnan(f) && std::isnan(e))) continue;
      const bool integer = !floating(exact[o].dtype());
      if (integer && rule && rule->allows(i, static_cast<std::uint8_t>(f))) continue;
      const double bound = integer || bounds[o].empty() ? 0 : bounds[o].at(i);
      const double share = bound > 0 ? std::abs(f - e) / bound : std::numeric_limits<double>::infinity();
      if (share <= c.worst) continue;
      c.worst = std::isnan(share) ? std::numeric_limits<double>::infinity() : share;
      if (c.worst > 1)
        c.fault = fmt::format("{}: found {:.9g}, exact {:.17g}, bound {:.3g}",
                              element(exact[o], i, static_cast<int>(o)), f, e, bound);
      if (std::isinf(c.worst)) return c;
    }
  return c;
}

}  // namespace tenon
