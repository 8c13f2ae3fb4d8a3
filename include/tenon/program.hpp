// Compiling: a model, a loss and an optimizer become one fixed plan of kernel calls over one arena of memory.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "tenon/batch.hpp"
#include "tenon/losses.hpp"
#include "tenon/nn.hpp"
#include "tenon/optim.hpp"
#include "tenon/parameters.hpp"

namespace tenon {

class Predictor;

/// Rows chosen by measurement instead of by their order in the table. In fp32 canonical rows only take part, so that no bit
/// can change; elsewhere the rows of every class of arithmetic up to the program's, and bits may differ from one choice to
/// another: keep it in a file. A provider that the user names stays. A file of another machine, number of threads,
/// precision, choice of providers or version is left aside with a warning; one that cannot be read or written is an
/// IoError, one that makes no sense a DataError.
struct Tune {
  bool measure = false;  // time every row that may run a problem, once per problem, and keep the fastest
  std::string read{};    // JSON file of choices: its problems are not timed
  std::string write{};   // file that gets all choices when there are new ones; replaced atomically
};

/// Where and how a program runs.
struct Options {
  std::string device = "auto";     // auto | cpu | cuda[:N]
  std::string precision = "fp32";  // fp32 | tf32 | bf16 | fp16 (CUDA): see Precision in kernel.hpp
  std::string providers{};         // "cpu.eigen", "conv2d=cpu.eigen,*=cpu.avx2"; empty: TENON_PROVIDERS, else the best
  int threads = 0;                 // 0: OMP_NUM_THREADS, else one per core
  std::uint64_t seed = 0;
  DType dtype = DType::f32;  // f64 runs on the reference provider only
  bool fuse = true;
  Tune tune{};  // programs and predictors; eval() does not tune
};

/// A function of named inputs to named outputs, and the parameters it owns. Copies share the parameters.
class Model {
 public:
  Model(const nn::Sequential& net);  // NOLINT: a Sequential is a model from "x" to "y"
  template <class F>
  requires std::is_invocable_r_v<Values, const F&, Values>
  explicit Model(F f) : Model(std::function<Values(Values)>(std::move(f)), std::make_shared<Parameters>()) {}
  Model(std::function<Values(Values)> f, std::shared_ptr<Parameters> parameters);

  [[nodiscard]] Values operator()(const Values& in) const { return f_(in); }
  [[nodiscard]] Parameters& parameters() const { return *parameters_; }
  [[nodiscard]] std::shared_ptr<Parameters> shared_parameters() const { return parameters_; }
  /// Architecture as JSON, where the model can be written down.
  [[nodiscard]] std::string config() const { return config_ ? config_() : std::string{}; }
  /// Thread-safe prediction. Inputs must be known: from compile(), fit() or load().
  [[nodiscard]] Predictor predictor(const Options& run = {}) const;

  [[nodiscard]] ModelInputs& inputs() const { return *inputs_; }

 private:
  std::function<Values(Values)> f_;
  std::shared_ptr<Parameters> parameters_;
  std::shared_ptr<ModelInputs> inputs_;
  std::function<std::string()> config_;
};

/// A scalar of outputs and targets. Takes a Criterion, or a callable of two Tensors or of two Values.
class Loss {
 public:
  Loss() = default;
  template <class F>
  requires std::is_invocable_r_v<Tensor, const F&, Tensor, Tensor> ||
      std::is_invocable_r_v<Tensor, const F&, Values, Values>
      Loss(F f) {  // NOLINT: every such callable is a loss
    if constexpr (std::is_invocable_r_v<Tensor, const F&, Tensor, Tensor>)
      f_ = [f](const Values& y, const Values& t) { return f(y.only(), t.only()); };
    else
      f_ = std::move(f);
  }
  [[nodiscard]] Tensor operator()(const Values& y, const Values& t) const { return f_(y, t); }
  [[nodiscard]] explicit operator bool() const { return static_cast<bool>(f_); }

 private:
  std::function<Tensor(const Values&, const Values&)> f_;
};

/// A criterion of the output and the target of one name, reported every step.
struct Metric {
  std::string output{};  // empty: the only one
  Criterion criterion = accuracy;
};

/// Parameters whose name matches get another learning rate or decay. The first match counts.
struct ParameterGroup {
  std::string match;
  float lr_scale = 1.f;
  std::optional<float> weight_decay{};
};

struct CompileOptions {
  std::vector<InputSpec> inputs{}, targets{};
  Loss loss{};
  Optimizer optimizer = Sgd{};
  float clip_norm = 0.f;               // 0: off; else gradients scale by min(1, clip_norm / norm of all)
  int accumulate = 1;                  // micro-batches in one update
  std::vector<std::string> frozen{};   // patterns of parameters that stay; one that matches nothing is an error
  std::vector<std::string> observe{};  // "grad:head.*", "param:*", or an output's name
  std::vector<Metric> metrics{};
  std::vector<ParameterGroup> groups{};
  /// Gradients are computed of the loss times this power of two and divided by it before anybody reads them, so that small
  /// ones do not vanish in fp16. Where one is not finite, the update is skipped (StepResult::overflowed). 0: 1024 in fp16,
  /// else 1, which is no scale. Micikevicius et al. 2018, "Mixed precision training", arXiv:1710.03740.
  float loss_scale = 0.f;
  Options run{};
};

struct NamedValue {
  std::string name;
  double value = 0;
};

/// Scalars of one step; the spans point into the program and hold until its next call.
struct StepResult {
  double loss = 0;
  std::span<const NamedValue> metrics;
  bool updated = false;  // false between the micro-batches of an accumulated update
  bool halted = false;   // the loss was not finite: nothing was updated, nor will be
  /// A gradient of the scaled loss was not finite: this update was skipped, the next need not be.
  bool overflowed = false;
};

/// What ran where, for banners and tests.
struct PlanEntry {
  std::string op, provider, shape;
  std::int64_t offset = 0, bytes = 0;
  double microseconds = 0, flops = 0, traffic = 0;
  bool canonical = true, naive = false;
  std::string precision = "fp32";  // class of the row's arithmetic
  /// Share of the device's limit: the least time that `flops` and `traffic` need at its measured peaks, over the time that
  /// was measured; 0 without TENON_VERBOSE=time. Above 1 where dead terms were skipped, products transformed, or operands
  /// found in the caches.
  double roofline = 0;
};

class Program {
 public:
  Program(Program&&) noexcept;
  Program& operator=(Program&&) noexcept;
  ~Program();

  /// One micro-batch: forward, backward, and the update when `accumulate` of them are in. Throws DataError for a label
  /// or id out of range; UsageError where the batch does not fit. Allocates nothing once the batch shape was seen.
  StepResult step(const Batch& batch);
  /// Loss and metrics without training.
  StepResult evaluate(const Batch& batch);
  /// Outputs in the model's order.
  [[nodiscard]] std::vector<Array> predict(const std::vector<Array>& inputs);
  /// Copy of an observed value after step(). Throws UsageError that lists the names there are.
  [[nodiscard]] Array observed(const std::string& name) const;
  /// Copy of a parameter's gradient after step().
  [[nodiscard]] Array gradient(const std::string& parameter) const;

  [[nodiscard]] Parameters& parameters() const;
  [[nodiscard]] std::int64_t updates() const;
  /// Philox words for the next steps, and the micro-batch count in them.
  void start_epoch(std::uint32_t epoch);
  /// Overrides the optimizer's schedule from the next update on; nullopt returns to it.
  void set_learning_rate(std::optional<float> lr);
  [[nodiscard]] float learning_rate() const;

  enum class Mode : std::uint8_t { train, evaluate, predict };
  /// The plan for a batch size, compiled if need be.
  [[nodiscard]] std::vector<PlanEntry> plan(Mode mode, std::int64_t batch);
  /// The same as a table: #, op, provider, shape, offset, bytes; with TENON_VERBOSE=time microseconds,
  /// GFLOP/s and share of the roofline.
  [[nodiscard]] std::string plan_table(Mode mode, std::int64_t batch);
  /// `cpu: Intel ..., avx512, 2 threads; fp32`
  [[nodiscard]] std::string banner() const;
  /// Threads of this machine that its steps keep busy; 0 where a device runs them.
  [[nodiscard]] int host_threads() const;
  [[nodiscard]] std::size_t arena_bytes() const;

 private:
  friend Program compile(const Model&, CompileOptions);
  friend class ResidentSteps;
  struct Impl;
  explicit Program(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Traces the model, declares its parameters on the first call, and checks everything that can be checked.
[[nodiscard]] Program compile(const Model& model, CompileOptions options);

/// Prediction that many threads may call at once: each call runs the shared plan on an arena of its own.
class Predictor {
 public:
  /// Inputs with the batch axis, in the model's order; outputs likewise.
  [[nodiscard]] std::vector<Array> operator()(const std::vector<Array>& inputs) const;
  [[nodiscard]] Array operator()(const Array& input) const { return (*this)(std::vector<Array>{input}).at(0); }
  /// Threads of this machine that a call keeps busy; 0 where a device runs it.
  [[nodiscard]] int host_threads() const;

 private:
  friend class Model;
  struct Impl;
  explicit Predictor(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<Impl> impl_;
};

/// The value of a tensor of a graph of constants: a one-off run on the CPU, for debugging and as a plain tensor library.
[[nodiscard]] Array eval(Tensor tensor, const Options& options = {});

/// A graph to put constants into for eval().
class Scratch {
 public:
  Scratch();
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  [[nodiscard]] Tensor operator()(Array value);

 private:
  std::unique_ptr<Graph> graph_;
};

}  // namespace tenon
