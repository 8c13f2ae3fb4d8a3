// The choice of rows by measurement (`--tune`), made where a plan binds its nodes: all rows that may run a problem are timed
// on scratch operands, once per problem, and the fastest stays for every plan of the program. Choices can be kept in a
// file (tune_file.hpp) and taken from one.
#pragma once
#include <map>
#include <memory>

#include "lib/passes/row_set.hpp"
#include "lib/runtime/tune_file.hpp"

namespace tenon {

class Tuner {
 public:
  /// Reads the file that `run.tune` names. Throws IoError, DataError.
  Tuner(Backend&, const RowSet&, const Options& run);

  /// The row for a problem: the one chosen before, here or in the file; else, where measuring was asked for, the fastest;
  /// else the first. Throws DataError where the file names a row that does not take the problem.
  [[nodiscard]] Match bind(const Problem&, const op::AnyOp&);
  /// Writes the file that `run.tune` names where there are choices that it does not have. Throws IoError.
  void save();

 private:
  [[nodiscard]] Match measured(const std::string& text, const Problem&, const op::AnyOp&);

  Backend* device_;
  const RowSet* rows_;
  Tune tune_;
  TuneContext context_;
  std::map<std::string, TuneChoice> choices_;  // by problem
  bool changed_ = false;
};

/// Null where the options ask for nothing.
[[nodiscard]] std::unique_ptr<Tuner> make_tuner(Backend&, const RowSet&, const Options& run);

}  // namespace tenon
