// The rows that a program may bind, in order, after `--provider` and the precision had their say.
#pragma once
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "tenon/backend.hpp"
#include "tenon/kernel.hpp"
#include "tenon/program.hpp"

namespace tenon {

/// A row that took a problem, and what it bound.
struct Match {
  const Kernel* row = nullptr;
  Step step;
  std::vector<std::string> refusals;        // of the rows before it: "cpu.avx512: dtype f64"
  bool stands_in = false;                   // the provider that the user named refused
  std::shared_ptr<const Kernel> owned_row;  // a user's row, made for this match
};

/// A provider may have several rows for an operation: "cpu.avx2", "cpu.avx2/tf32".
[[nodiscard]] std::string row_name(const Kernel&);

class RowSet {
 public:
  /// Reads providers, precision, dtype and threads. Throws UsageError for an unknown op, provider or precision.
  RowSet(const Backend& backend, const Options& run);

  /// The first row that takes the problem. Throws UsageError that lists every refusal.
  [[nodiscard]] Match bind(Problem, const op::AnyOp&) const;
  /// True where a row that the user would expect takes the problem: not one that only stands in.
  [[nodiscard]] bool accepts(Problem, const op::AnyOp&) const;
  /// The precision in words, with what it falls short of: `fp32 (any order)`, or the classes that run where there is no
  /// row of the class that was asked for.
  [[nodiscard]] std::string precision_text() const;
  /// Every row that may run the problem in the program's class of arithmetic, bound, in the order of bind(). In fp32
  /// canonical rows only; of the provider that the user names, its rows only; neither naive rows nor the reference. Where
  /// that leaves none, the one of bind().
  [[nodiscard]] std::vector<Match> choices(Problem, const op::AnyOp&) const;
  /// The user's choice of providers as it was understood: "conv2d=cpu.eigen,*=cpu.avx2".
  [[nodiscard]] std::string providers() const;
  [[nodiscard]] int threads() const noexcept { return threads_; }
  /// Of the backend whose rows these are.
  [[nodiscard]] bool on_host() const { return backend_->on_host(); }
  [[nodiscard]] bool named() const noexcept { return !rules_.empty(); }

 private:
  [[nodiscard]] std::vector<const Kernel*> candidates(op::Kind kind, std::string_view op_name,
                                                      std::size_t& preferred) const;

  const Backend* backend_;
  std::vector<std::pair<std::string, std::string>> rules_;  // op name or "*", provider
  std::int32_t threads_;
  Precision precision_;
  bool canonical_ = true;
};

}  // namespace tenon
