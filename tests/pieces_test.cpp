// Rows run in pieces. A listener notes what it is told of and what lies there at that moment; an update runs part by part.
#include "tests/pieces_test.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "lib/ops/in_place.hpp"
#include "lib/runtime/slab.hpp"
#include "tests/case_forms.hpp"
#include "tests/cases.hpp"
#include "tests/support/catch.hpp"

namespace tenon::tests {
namespace {

constexpr int most_threads = 4;

std::size_t bytes_of(std::int64_t floats) { return static_cast<std::size_t>(floats) * sizeof(float); }

/// A bound row with memory of its own for operands and workspace.
class Bench {
 public:
  Bench(const Case& c, const Kernel& row, Backend& device) : problem_(make_problem(c.op, c.in)) {
    problem_.threads = most_threads;
    Bound bound = row.bind(problem_, row);
    if (!std::holds_alternative<Step>(bound)) return;
    step_ = std::get<Step>(std::move(bound));
    inputs_ = make_inputs(c, 7);
    for (const Array& a : inputs_) in_.emplace_back(device, a.spec().bytes());
    for (int i = 0; i < problem_.outs; ++i)
      out_.emplace_back(device, shared_input(problem_, i) < 0 ? problem_.out[i].bytes() : 0);
    workspace_ = Slab(device, step_->workspace);
    clear();
  }
  [[nodiscard]] bool bound() const { return step_.has_value(); }

  /// Operands as they were, results NaN.
  void clear() {
    for (std::size_t i = 0; i < in_.size(); ++i) std::memcpy(in_[i].data(), inputs_[i].bytes(), in_[i].size());
    for (Slab& s : out_)
      if (s.size() > 0) std::memset(s.data(), 0xFF, s.size());
    if (workspace_.size() > 0) std::memset(workspace_.data(), 0xFF, workspace_.size());
  }

  /// From element `first` on, `count` elements of those operands that have as many as the first; 0: all.
  void run(int threads, const Finish* finish = nullptr, std::int64_t first = 0, std::int64_t count = 0) {
    std::vector<const void*> in;
    std::vector<void*> out;
    const auto from = [&](std::byte* at, const TensorSpec& spec) {
      return spec.shape.elements() == elements() ? at + bytes_of(first) : at;
    };
    for (std::size_t i = 0; i < in_.size(); ++i) in.push_back(from(in_[i].data(), inputs_[i].spec()));
    for (int i = 0; i < problem_.outs; ++i) out.push_back(from(place(i), problem_.out[i]));
    Control control = make_control(3);
    step_->run({.in = in.data(),
                .out = out.data(),
                .workspace = workspace_.data(),
                .control = &control,
                .state = step_->state.get(),
                .threads = threads,
                .finish = finish,
                .elements = count});
  }

  [[nodiscard]] std::int64_t elements() const { return problem_.out[0].shape.elements(); }
  [[nodiscard]] const float* result() { return reinterpret_cast<const float*>(place(0)); }
  /// All results, one behind the other.
  [[nodiscard]] std::vector<std::byte> results() {
    std::vector<std::byte> all;
    for (int i = 0; i < problem_.outs; ++i) all.insert(all.end(), place(i), place(i) + problem_.out[i].bytes());
    return all;
  }

 private:
  [[nodiscard]] std::byte* place(int output) {
    const int shared = shared_input(problem_, output);
    return shared < 0 ? out_[static_cast<std::size_t>(output)].data() : in_[static_cast<std::size_t>(shared)].data();
  }

  Problem problem_;
  std::optional<Step> step_;
  std::vector<Array> inputs_;
  std::vector<Slab> in_, out_;
  Slab workspace_;
};

/// How often each element was told, and its value then.
struct Listener : Finish {
  Listener(const float* result, std::int64_t elements)
      : at(result),
        times(static_cast<std::size_t>(elements)),
        seen(static_cast<std::size_t>(elements), std::numeric_limits<float>::quiet_NaN()) {
    run = [](const Finish& finish, std::int64_t begin, std::int64_t count) {
      // The caller knows no more than that there is a Finish.
      auto& self = const_cast<Listener&>(static_cast<const Listener&>(finish));
      const auto all = static_cast<std::int64_t>(self.times.size());
      if (begin < 0 || count < 1 || begin + count > all) {
        ++self.outside;
        return;
      }
      for (std::int64_t i = begin; i < begin + count; ++i) ++self.times[static_cast<std::size_t>(i)];
      std::memcpy(self.seen.data() + begin, self.at + begin, bytes_of(count));
    };
  }
  [[nodiscard]] bool each_once() const {
    return outside == 0 && std::ranges::all_of(times, [](const std::atomic<int>& n) { return n == 1; });
  }

  const float* at;
  std::vector<std::atomic<int>> times;
  std::vector<float> seen;
  std::atomic<int> outside = 0;
};

/// The lists' problems of an operation, and dense layers that cut k in chunks: small gradients by chunks, large ones by regions.
std::vector<Case> problems(op::Kind kind) {
  std::vector<Case> found;
  for (const std::vector<Case>* list : {&cases(), &large_cases()})
    for (const Case& c : *list)
      if (op::kind(c.op) == kind) found.push_back(c);
  if (kind != op::kind_of<op::MatMulGradB>) return found;
  const op::Epilogue relu{.bias = true, .activation = op::UnaryFn::relu},
      dropped{.bias = true, .dropout = 0.4f, .site = 3};
  for (const op::Epilogue& e : {op::Epilogue{}, relu, dropped})
    for (const bool turned : {false, true}) {
      const op::MatMul o{.transpose_b = turned, .epilogue = e};
      for (const auto& [m, n, k] : {std::array<std::int64_t, 3>{1, 193, 257},
                                    {64, 193, 257},
                                    {64, 700, 330},
                                    {1100, 129, 300},
                                    {1100, 33, 1001},
                                    {2100, 300, 257}})
        found.push_back(form::matmul_grad_b(o, m, n, k));
    }
  return found;
}

/// The same update of more elements.
Case with_elements(Case c, std::int64_t n) {
  const Shape small = c.in[0].shape;
  for (TensorSpec& spec : c.in)
    if (spec.shape == small) spec.shape = Shape{n};
  return c;
}

}  // namespace

int check_results(std::string_view provider, Backend& device) {
  int rows = 0;
  for (const Kernel& row : device.kernels()) {
    if (row.provider != provider || row.pieces != Pieces::results) continue;
    ++rows;
    int bound = 0;
    for (const Case& c : problems(row.op)) {
      Bench bench(c, row, device);
      if (!bench.bound()) continue;
      ++bound;
      bench.run(1);
      const std::vector<std::byte> alone = bench.results();
      for (int threads = 1; threads <= most_threads; ++threads) {
        INFO(row.provider << " " << name_of(row.precision) << " " << c.name << ", " << threads << " threads");
        bench.clear();
        Listener listener(bench.result(), bench.elements());
        bench.run(threads, &listener);
        CHECK(listener.each_once());
        CHECK(std::memcmp(listener.seen.data(), bench.result(), bytes_of(bench.elements())) == 0);
        CHECK(bench.results() == alone);
      }
    }
    INFO(row.provider << " " << op::name_of(row.op) << " " << name_of(row.precision));
    CHECK(bound >= 12);
  }
  return rows;
}

int check_elements(std::string_view provider, Backend& device) {
  int rows = 0;
  for (const Kernel& row : device.kernels()) {
    if (row.provider != provider || row.pieces != Pieces::elements) continue;
    ++rows;
    int bound = 0;
    for (const Case& small : cases()) {
      if (op::kind(small.op) != row.op) continue;
      for (const std::int64_t n : {37, 9001}) {
        const Case c = with_elements(small, n);
        Bench bench(c, row, device);
        if (!bench.bound()) continue;
        ++bound;
        bench.run(2);
        const std::vector<std::byte> whole = bench.results();
        for (const std::int64_t part : {1, 7, 16, 33, 1001, 4099}) {
          INFO(row.provider << " " << small.name << ", " << n << " elements, " << part << " at a time");
          // From the back, so that nothing but the place and the number can say which they are.
          bench.clear();
          for (std::int64_t end = n; end > 0; end -= part)
            bench.run(2, nullptr, std::max<std::int64_t>(end - part, 0), std::min(part, end));
          CHECK(bench.results() == whole);
        }
        // A part leaves the others alone.
        bench.clear();
        const std::vector<std::byte> before = bench.results();
        bench.run(1, nullptr, 5, 19);
        const std::vector<std::byte> after = bench.results();
        const std::size_t begin = bytes_of(5), end = bytes_of(24), all = bytes_of(n);
        bool others = true, own = true;
        for (std::size_t i = 0; i < after.size(); ++i) {
          const bool inside = i % all >= begin && i % all < end;
          (inside ? own : others) &= after[i] == (inside ? whole : before)[i];
        }
        CHECK(others);
        CHECK(own);
      }
    }
    INFO(row.provider << " " << op::name_of(row.op));
    CHECK(bound >= 4);
  }
  return rows;
}

}  // namespace tenon::tests
