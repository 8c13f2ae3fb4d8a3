// oneDNN on the convolutions and products of network_shapes.hpp, named as kernels_bench names them; one JSON object a
// line. Its memory formats are its own (`any`: activations and weights) or those of Tenon (`plain`: activations
// channels last, matrices row-major; convolution weights still its own). Reordering into them is outside the clock.
#include <fmt/format.h>

#include <omp.h>

#include <chrono>
#include <dnnl.hpp>
#include <nlohmann/json.hpp>
#include <regex>
#include <unordered_map>

#include "bench/support/network_shapes.hpp"
#include "bench/support/program.hpp"

namespace {

using namespace tenon::bench;
using dnnl::memory;
using Clock = std::chrono::steady_clock;

constexpr double sample_seconds = 0.004;  // as kernels_bench --compare

struct Flags {
  std::string filter, format = "any";
  int threads = 0, rounds = 15;
};

void describe(CLI::App& app, Flags& f) {
  app.add_option("--filter", f.filter, "Regular expression that a name operation/shape has to match somewhere")
      ->type_name("REGEX");
  app.add_option("--format", f.format, "any: memory formats are oneDNN's choice; plain: activations as Tenon has them")
      ->check(CLI::IsMember({"any", "plain"}))
      ->capture_default_str();
  app.add_option("--threads", f.threads, "Threads; 0 for one per core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  app.add_option("--rounds", f.rounds, "Samples of each kernel")->check(CLI::Range(1, 10000))->capture_default_str();
}

/// Version 3 dropped the descriptors between the arguments and the primitive's descriptor.
template <class Primitive, class... Arguments>
typename Primitive::primitive_desc describe_primitive(const dnnl::engine& engine, const Arguments&... arguments) {
#if DNNL_VERSION_MAJOR >= 3
  return {engine, arguments...};
#else
  return {typename Primitive::desc(arguments...), engine};
#endif
}

/// A gradient wants the forward primitive's descriptor as a hint.
template <class Primitive, class Hint, class... Arguments>
typename Primitive::primitive_desc describe_gradient(const dnnl::engine& engine, const Hint& hint,
                                                     const Arguments&... arguments) {
#if DNNL_VERSION_MAJOR >= 3
  return {engine, arguments..., hint};
#else
  return {typename Primitive::desc(arguments...), engine, hint};
#endif
}

class Bench {
 public:
  explicit Bench(const Flags& f)
      : flags_(f), filter_(f.filter), engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {}

  void run(const ConvShape& s) {
    const memory::dim out = s.out_side(), g = s.groups;
    const auto nhwc = flags_.format == "any" ? memory::format_tag::any : memory::format_tag::nhwc;
    const memory::desc x({s.batch, s.channels, s.side, s.side}, memory::data_type::f32, nhwc);
    const memory::desc y({s.batch, s.filters, out, out}, memory::data_type::f32, nhwc);
    const memory::dims dense{s.filters, s.channels, s.kernel, s.kernel};
    const memory::dims grouped{g, s.filters / g, s.channels / g, s.kernel, s.kernel};
    const memory::desc w(g == 1 ? dense : grouped, memory::data_type::f32, memory::format_tag::any);
    const memory::dims stride{s.stride, s.stride}, pad{s.pad, s.pad};
    const auto method = dnnl::algorithm::convolution_auto;

    const auto forward = describe_primitive<dnnl::convolution_forward>(engine_, dnnl::prop_kind::forward_training,
                                                                       method, x, w, y, stride, pad, pad);
    time("conv2d", s.label, forward,
         {{DNNL_ARG_SRC, forward.src_desc()},
          {DNNL_ARG_WEIGHTS, forward.weights_desc()},
          {DNNL_ARG_DST, forward.dst_desc()}});
    const auto filter =
        describe_gradient<dnnl::convolution_backward_weights>(engine_, forward, method, x, w, y, stride, pad, pad);
    time("conv2d_grad_filter", s.label, filter,
         {{DNNL_ARG_SRC, filter.src_desc()},
          {DNNL_ARG_DIFF_DST, filter.diff_dst_desc()},
          {DNNL_ARG_DIFF_WEIGHTS, filter.diff_weights_desc()}});
    if (s.first) return;
    const auto input =
        describe_gradient<dnnl::convolution_backward_data>(engine_, forward, method, x, w, y, stride, pad, pad);
    time("conv2d_grad_input", s.label, input,
         {{DNNL_ARG_DIFF_DST, input.diff_dst_desc()},
          {DNNL_ARG_WEIGHTS, input.weights_desc()},
          {DNNL_ARG_DIFF_SRC, input.diff_src_desc()}});
  }

  void run(const MatMulShape& s) {
    product("matmul", s.label, {s.m, s.k}, false, {s.k, s.n}, false);
    product("matmul_grad_a", s.label, {s.m, s.n}, false, {s.n, s.k}, true);
    product("matmul_grad_b", s.label, {s.k, s.m}, true, {s.m, s.n}, false);
  }

  [[nodiscard]] int timed() const { return timed_; }

 private:
  /// a times b; a transposed operand lies in memory the other way round.
  void product(const char* op, const char* label, const memory::dims& a, bool a_transposed, const memory::dims& b,
               bool b_transposed) {
    const auto desc = [&](const memory::dims& d, bool transposed) {
      using tag = memory::format_tag;
      return memory::desc(d, memory::data_type::f32,
                          flags_.format == "any" ? tag::any
                          : transposed           ? tag::ba
                                                 : tag::ab);
    };
    const auto matmul = describe_primitive<dnnl::matmul>(engine_, desc(a, a_transposed), desc(b, b_transposed),
                                                         desc({a[0], b[1]}, false));
    time(op, label, matmul,
         {{DNNL_ARG_SRC, matmul.src_desc()},
          {DNNL_ARG_WEIGHTS, matmul.weights_desc()},
          {DNNL_ARG_DST, matmul.dst_desc()}});
  }

  [[nodiscard]] memory filled(const memory::desc& desc) const {
    memory m(desc, engine_);
    auto* values = static_cast<float*>(m.get_data_handle());
    std::uint32_t state = 1;
    for (std::size_t i = 0; i < desc.get_size() / sizeof(float); ++i) {
      state = state * 1664525u + 1013904223u;
      values[i] = static_cast<float>(state >> 8) / static_cast<float>(1 << 23) - 1.f;
    }
    return m;
  }

  template <class Desc>
  void time(const std::string& op, const std::string& label, const Desc& desc,
            const std::vector<std::pair<int, memory::desc>>& operands) {
    const std::string name = op + "/" + label;
    if (!std::regex_search(name, filter_)) return;
    const dnnl::primitive primitive(desc);
    std::unordered_map<int, memory> arguments;
    for (const auto& [place, operand] : operands) arguments.emplace(place, filled(operand));
    const auto seconds = [&](std::int64_t calls) {
      const auto begin = Clock::now();
      for (std::int64_t i = 0; i < calls; ++i) primitive.execute(stream_, arguments);
      stream_.wait();
      return std::chrono::duration<double>(Clock::now() - begin).count();
    };
    (void)seconds(1);  // first touch
    const auto calls = 1 + static_cast<std::int64_t>(sample_seconds / std::max(seconds(1), 1e-8));
    std::vector<double> samples;
    for (int i = 0; i < flags_.rounds; ++i) samples.push_back(1e3 * seconds(calls) / static_cast<double>(calls));
    const dnnl_version_t* v = dnnl::version();
    const nlohmann::ordered_json line{{"name", name},
                                      {"ms", quantile(samples, 0.5)},
                                      {"min_ms", quantile(samples, 0)},
                                      {"spread_ms", quantile(samples, 0.9) - quantile(samples, 0.1)},
                                      {"implementation", desc.impl_info_str()},
                                      {"format", flags_.format},
                                      {"threads", flags_.threads},
                                      {"banner", fmt::format("oneDNN {}.{}.{}", v->major, v->minor, v->patch)}};
    fmt::print("{}\n", line.dump());
    ++timed_;
  }

  Flags flags_;
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
        throw tenon::UsageError(
            fmt::format("[--filter] expected a name that matches, found none for '{}'", flags.filter));
    } catch (const std::regex_error& e) {
      throw tenon::UsageError(
          fmt::format("[--filter] expected a regular expression, found '{}': {}", flags.filter, e.what()));
    } catch (const dnnl::error& e) {
      throw std::runtime_error(fmt::format("[onednn] expected a primitive, found: {}", e.what()));
    }
  });
}
