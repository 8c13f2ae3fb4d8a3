// oneDNN on the convolutions and products of network_shapes.hpp, named as kernels_bench names them; one JSON object a
// line. Its memory formats are its own (`any`: activations and weights) or those of Tenon (`plain`: activations
// channels last, matrices row-major; convolution weights still its own). Reordering into them is outside the clock.
//
//   fp32                 operands, results and sums in fp32; the algorithm is oneDNN's choice
//   tf32                 oneDNN has no tf32 on a CPU: the same, and Winograd, which Tenon has in this class, where it is faster
//   bf16                 operands in bf16; the result, gradients of weights included, in bf16 or fp32, whichever is faster
//   bf16, --storage fp32 as Tenon: fp32 in memory, rounded to bf16 on the way (`fpmath_mode::bf16`), where a kernel does that
//
// A product is timed as `matmul` or as `inner_product`, whichever is faster.
#include <fmt/format.h>

#include <omp.h>

#include <bit>
#include <chrono>
#include <dnnl.hpp>
#include <nlohmann/json.hpp>
#include <optional>
#include <regex>
#include <unordered_map>

#include "bench/support/network_shapes.hpp"
#include "bench/support/program.hpp"

namespace {

using namespace tenon::bench;
using dnnl::memory;
using Method = dnnl::algorithm;
using Type = memory::data_type;
using Clock = std::chrono::steady_clock;

constexpr double sample_seconds = 0.004;  // as kernels_bench --compare

struct Flags {
  std::string filter, format = "any", precision = "fp32", storage = "bf16";
  int threads = 0, rounds = 15;
};

void describe(CLI::App& app, Flags& f) {
  app.add_option("--filter", f.filter, "Regular expression that a name operation/shape has to match somewhere")
      ->type_name("REGEX");
  app.add_option("--format", f.format, "any: memory formats are oneDNN's choice; plain: activations as Tenon has them")
      ->check(CLI::IsMember({"any", "plain"}))
      ->capture_default_str();
  app.add_option("--precision", f.precision, "fp32, tf32 or bf16")
      ->check(CLI::IsMember({"fp32", "tf32", "bf16"}))
      ->capture_default_str();
  app.add_option("--storage", f.storage, "With --precision bf16: what is in memory, bf16 or fp32")
      ->check(CLI::IsMember({"bf16", "fp32"}))
      ->capture_default_str();
  app.add_option("--threads", f.threads, "Threads; 0 for one per core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  app.add_option("--rounds", f.rounds, "Samples of each kernel")->check(CLI::Range(1, 10000))->capture_default_str();
}

/// Version 3 dropped the descriptors between the arguments and the primitive's descriptor.
template <class Primitive, class... Arguments>
typename Primitive::primitive_desc describe_primitive(const dnnl::engine& engine,
                                                      const dnnl::primitive_attr& attributes,
                                                      const Arguments&... arguments) {
#if DNNL_VERSION_MAJOR >= 3
  return {engine, arguments..., attributes};
#else
  return {typename Primitive::desc(arguments...), attributes, engine};
#endif
}

/// A gradient wants the forward primitive's descriptor as a hint.
template <class Primitive, class Hint, class... Arguments>
typename Primitive::primitive_desc describe_gradient(const dnnl::engine& engine, const dnnl::primitive_attr& attributes,
                                                     const Hint& hint, const Arguments&... arguments) {
#if DNNL_VERSION_MAJOR >= 3
  return {engine, arguments..., hint, attributes};
#else
  return {typename Primitive::desc(arguments...), attributes, engine, hint};
#endif
}

/// What the precision leaves open: a row takes the fastest.
struct Choices {
  Type operand = Type::f32;
  std::vector<Type> results{Type::f32};
  std::vector<Method> methods{Method::convolution_auto};
  dnnl::primitive_attr attributes;

  explicit Choices(const Flags& f) {
    const bool bf16 = f.precision == "bf16", stored = bf16 && f.storage == "bf16";
    if (stored) operand = Type::bf16;
    if (stored) results = {Type::bf16, Type::f32};
    if (f.precision != "fp32" && !stored) methods.push_back(Method::convolution_winograd);
    if (bf16 && !stored) attributes.set_fpmath_mode(dnnl::fpmath_mode::bf16);
#if DNNL_VERSION_MAJOR >= 3
    if (f.precision == "tf32") attributes.set_fpmath_mode(dnnl::fpmath_mode::tf32);
#endif
  }
};

/// Uniform in [-1, 1), without denormals: the least step is 2^-23.
void fill(const memory& m, Type type, std::size_t bytes) {
  const auto value = [](std::uint32_t i) {
    std::uint32_t x = (i + 1) * 2654435761u;
    x = (x ^ (x >> 15)) * 2246822519u;
    return static_cast<float>((x ^ (x >> 13)) >> 8) / static_cast<float>(1 << 23) - 1.f;
  };
  auto* const floats = static_cast<float*>(m.get_data_handle());
  auto* const halves = static_cast<std::uint16_t*>(m.get_data_handle());
  const auto count = static_cast<std::int64_t>(bytes / (type == Type::f32 ? sizeof(float) : sizeof(std::uint16_t)));
#pragma omp parallel for
  for (std::int64_t i = 0; i < count; ++i) {
    const float v = value(static_cast<std::uint32_t>(i));
    if (type == Type::f32)
      floats[i] = v;
    else
      halves[i] = static_cast<std::uint16_t>((std::bit_cast<std::uint32_t>(v) + 0x8000u) >> 16);
  }
}

class Bench {
 public:
  explicit Bench(const Flags& f)
      : flags_(f), choices_(f), filter_(f.filter), engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {}

  void run(const ConvShape& s) {
    const Type in = choices_.operand;
    const memory::dims stride{s.stride, s.stride}, pad{s.pad, s.pad};
    const auto forward = [&](Method method, Type result) {
      const Conv c = conv(s, in, in, result);
      return describe<dnnl::convolution_forward>(dnnl::prop_kind::forward_training, method, c.x, c.w, c.y, stride, pad,
                                                 pad);
    };
    row("conv2d", s.label, choices_.methods, [&](Method method, Type result) {
      const auto desc = forward(method, result);
      return primitive(desc, {{DNNL_ARG_SRC, desc.src_desc(), in},
                              {DNNL_ARG_WEIGHTS, desc.weights_desc(), in},
                              {DNNL_ARG_DST, desc.dst_desc(), result}});
    });
    row("conv2d_grad_filter", s.label, choices_.methods, [&](Method method, Type result) {
      const Conv c = conv(s, in, result, in);
      const auto desc = describe_gradient<dnnl::convolution_backward_weights>(
          engine_, choices_.attributes, forward(method, in), method, c.x, c.w, c.y, stride, pad, pad);
      return primitive(desc, {{DNNL_ARG_SRC, desc.src_desc(), in},
                              {DNNL_ARG_DIFF_DST, desc.diff_dst_desc(), in},
                              {DNNL_ARG_DIFF_WEIGHTS, desc.diff_weights_desc(), result}});
    });
    if (s.first) return;
    row("conv2d_grad_input", s.label, choices_.methods, [&](Method method, Type result) {
      const Conv c = conv(s, result, in, in);
      const auto desc = describe_gradient<dnnl::convolution_backward_data>(
          engine_, choices_.attributes, forward(method, in), method, c.x, c.w, c.y, stride, pad, pad);
      return primitive(desc, {{DNNL_ARG_DIFF_DST, desc.diff_dst_desc(), in},
                              {DNNL_ARG_WEIGHTS, desc.weights_desc(), in},
                              {DNNL_ARG_DIFF_SRC, desc.diff_src_desc(), result}});
    });
  }

  void run(const MatMulShape& s) {
    using tag = memory::format_tag;
    const std::vector<bool> ways{false, true};  // inner_product?
    const Type in = choices_.operand;
    const auto x = [&](Type type) { return matrix({s.m, s.k}, type, tag::ab); };
    const auto y = [&](Type type) { return matrix({s.m, s.n}, type, tag::ab); };
    const auto w = [&](Type type) { return matrix({s.n, s.k}, type, tag::ba); };  // inner_product's view: out, in
    const auto forward = [&](Type result) {
      return describe<dnnl::inner_product_forward>(dnnl::prop_kind::forward_training, x(in), w(in), y(result));
    };
    row("matmul", s.label, ways, [&](bool inner, Type result) {
      if (!inner) return product(x(in), matrix({s.k, s.n}, in, tag::ab), y(result), result);
      const auto desc = forward(result);
      return primitive(desc, {{DNNL_ARG_SRC, desc.src_desc(), in},
                              {DNNL_ARG_WEIGHTS, desc.weights_desc(), in},
                              {DNNL_ARG_DST, desc.dst_desc(), result}});
    });
    row("matmul_grad_a", s.label, ways, [&](bool inner, Type result) {
      if (!inner) return product(y(in), w(in), x(result), result);
      const auto desc = describe_gradient<dnnl::inner_product_backward_data>(engine_, choices_.attributes, forward(in),
                                                                             x(result), w(in), y(in));
      return primitive(desc, {{DNNL_ARG_DIFF_DST, desc.diff_dst_desc(), in},
                              {DNNL_ARG_WEIGHTS, desc.weights_desc(), in},
                              {DNNL_ARG_DIFF_SRC, desc.diff_src_desc(), result}});
    });
    row("matmul_grad_b", s.label, ways, [&](bool inner, Type result) {
      if (!inner) return product(matrix({s.k, s.m}, in, tag::ba), y(in), matrix({s.k, s.n}, result, tag::ab), result);
      const auto desc = describe_gradient<dnnl::inner_product_backward_weights>(engine_, choices_.attributes,
                                                                                forward(in), x(in), w(result), y(in));
      return primitive(desc, {{DNNL_ARG_SRC, desc.src_desc(), in},
                              {DNNL_ARG_DIFF_DST, desc.diff_dst_desc(), in},
                              {DNNL_ARG_DIFF_WEIGHTS, desc.diff_weights_desc(), result}});
    });
  }

  [[nodiscard]] int timed() const { return timed_; }

 private:
  struct Conv {
    memory::desc x, w, y;
  };
  struct Operand {
    int place;
    memory::desc desc;
    Type type;
  };
  struct Candidate {
    dnnl::primitive primitive;
    std::unordered_map<int, memory> arguments;
    std::string implementation, result;
    double seconds = 0;  // of a call, when it was chosen
  };

  template <class Primitive, class... Arguments>
  typename Primitive::primitive_desc describe(const Arguments&... arguments) const {
    return describe_primitive<Primitive>(engine_, choices_.attributes, arguments...);
  }

  [[nodiscard]] Conv conv(const ConvShape& s, Type x, Type w, Type y) const {
    using tag = memory::format_tag;
    const memory::dim out = s.out_side(), g = s.groups;
    const auto nhwc = flags_.format == "any" ? tag::any : tag::nhwc;
    const memory::dims dense{s.filters, s.channels, s.kernel, s.kernel};
    const memory::dims grouped{g, s.filters / g, s.channels / g, s.kernel, s.kernel};
    return {memory::desc({s.batch, s.channels, s.side, s.side}, x, nhwc),
            memory::desc(g == 1 ? dense : grouped, w, tag::any), memory::desc({s.batch, s.filters, out, out}, y, nhwc)};
  }

  /// `plain`: ab is row-major; a transposed operand lies in memory the other way round, ba.
  [[nodiscard]] memory::desc matrix(const memory::dims& d, Type type, memory::format_tag plain) const {
    return {d, type, flags_.format == "any" ? memory::format_tag::any : plain};
  }

  [[nodiscard]] Candidate product(const memory::desc& a, const memory::desc& b, const memory::desc& y,
                                  Type result) const {
    const auto desc = describe<dnnl::matmul>(a, b, y);
    return primitive(desc, {{DNNL_ARG_SRC, desc.src_desc(), choices_.operand},
                            {DNNL_ARG_WEIGHTS, desc.weights_desc(), choices_.operand},
                            {DNNL_ARG_DST, desc.dst_desc(), result}});
  }

  template <class Desc>
  [[nodiscard]] Candidate primitive(const Desc& desc, const std::vector<Operand>& operands) const {
    Candidate c{dnnl::primitive(desc), {}, desc.impl_info_str(), operands.back().type == Type::f32 ? "fp32" : "bf16"};
    for (const auto& [place, operand, type] : operands) {
      const memory m(operand, engine_);
      fill(m, type, operand.get_size());
      c.arguments.emplace(place, m);
    }
    return c;
  }

  double seconds(const Candidate& c, std::int64_t calls) {
    const auto begin = Clock::now();
    for (std::int64_t i = 0; i < calls; ++i) c.primitive.execute(stream_, c.arguments);
    stream_.wait();
    return std::chrono::duration<double>(Clock::now() - begin).count();
  }

  /// Makes the row's candidates, one for each way and type of the result, and times the fastest.
  template <class Way, class Make>
  void row(const std::string& op, const char* label, const std::vector<Way>& ways, const Make& make) {
    const std::string name = op + "/" + label;
    if (!std::regex_search(name, filter_)) return;
    std::optional<Candidate> best;
    for (const Way way : ways)
      for (const Type result : choices_.results) {
        try {
          Candidate c = make(way, result);
          (void)seconds(c, 1);  // first touch
          c.seconds = std::min(seconds(c, 1), seconds(c, 1));
          if (!best || c.seconds < best->seconds) best = std::move(c);
        } catch (const dnnl::error& e) {
          if (e.status != dnnl_unimplemented) throw;
        }
      }
    if (best)
      print(name, *best);
    else
      std::fprintf(stderr, "onednn_kernels: [%s] expected a primitive, oneDNN has none\n", name.c_str());
  }

  void print(const std::string& name, const Candidate& c) {
    const auto calls = 1 + static_cast<std::int64_t>(sample_seconds / std::max(c.seconds, 1e-8));
    std::vector<double> samples;
    samples.reserve(static_cast<std::size_t>(flags_.rounds));
    for (int i = 0; i < flags_.rounds; ++i) samples.push_back(1e3 * seconds(c, calls) / static_cast<double>(calls));
    const dnnl_version_t* v = dnnl::version();
    const nlohmann::ordered_json line{{"name", name},
                                      {"ms", quantile(samples, 0.5)},
                                      {"min_ms", quantile(samples, 0)},
                                      {"spread_ms", quantile(samples, 0.9) - quantile(samples, 0.1)},
                                      {"implementation", c.implementation},
                                      {"result", c.result},
                                      {"format", flags_.format},
                                      {"precision", flags_.precision},
                                      {"threads", flags_.threads},
                                      {"banner", fmt::format("oneDNN {}.{}.{}", v->major, v->minor, v->patch)}};
    fmt::print("{}\n", line.dump());
    ++timed_;
  }

  Flags flags_;
  Choices choices_;
  std::regex filter_;
  dnnl::engine engine_;
  dnnl::stream stream_;
  int timed_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  Flags flags;
  CLI::App app("oneDNN's kernels on shapes that kernels_bench has, too.", "onednn_kernels");
  describe(app, flags);
  return run_program("onednn_kernels", app, [&] {
    app.parse(argc, argv);
    if (flags.threads > 0) omp_set_num_threads(flags.threads);
    flags.threads = omp_get_max_threads();
    try {
      Bench bench(flags);
      for (const ConvShape& s : network_convs) bench.run(s);
      for (const MatMulShape& s : network_matmuls) bench.run(s);
      if (bench.timed() == 0)
        throw tenon::UsageError(fmt::format(
            "[--filter] expected a name that matches and that oneDNN has, found none for '{}'", flags.filter));
    } catch (const std::regex_error& e) {
      throw tenon::UsageError(
          fmt::format("[--filter] expected a regular expression, found '{}': {}", flags.filter, e.what()));
    } catch (const dnnl::error& e) {
      throw std::runtime_error(fmt::format("[onednn] expected a primitive, found: {}", e.what()));
    }
  });
}
