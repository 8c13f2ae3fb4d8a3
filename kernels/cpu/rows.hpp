// How the rows of one instruction set come together: each family appends its own, in one explicit list
// (kernels/cpu/kernels.cpp).
#pragma once
#include <initializer_list>
#include <vector>

#include "kernels/cpu/micro/micro.hpp"

namespace tenon::cpu {

/// All of the families below.
void append_rows(KernelTable&, const Microkernels&);

void append_contraction_rows(KernelTable&, const Microkernels&);
void append_pointwise_rows(KernelTable&, const Microkernels&);
void append_row_rows(KernelTable&, const Microkernels&);  // softmax and its family: work on rows of a matrix
void append_pool_rows(KernelTable&, const Microkernels&);
void append_shape_rows(KernelTable&, const Microkernels&);
void append_update_rows(KernelTable&, const Microkernels&);

/// The table of backend("cpu"): for tests that put rows of their own into it, before anything is compiled.
[[nodiscard]] KernelTable& backend_table();

/// A loop that does nothing but what its instruction set does most of: FMAs, or products of tiles.
struct PeakLoop {
  std::string_view provider;  // "cpu.avx2"
  double flops;               // of an iteration
  RunFn run;                  // FmaGeometry
  bool tiles;                 // of bf16
};
/// Those of the instruction sets in use: what the processor has, up to TENON_ISA, the widest first; tiles last
/// (backend.cpp).
[[nodiscard]] std::vector<PeakLoop> peak_loops();

/// The table of the row's instruction set.
inline const Microkernels& micro(const Kernel& row) { return *static_cast<const Microkernels*>(row.impl); }

/// Appends the row of an operation, unless the provider has none of the `loops` that bind() chooses from: a row that
/// refuses every problem would only fill the messages.
template <class Op>
void append(KernelTable& table, const Microkernels& m, std::initializer_list<RunFn> loops,
            Bound (*bind)(const Problem&, const Kernel&), Edges edges, Precision precision = Precision::fp32) {
  for (const RunFn loop : loops) {
    if (loop == nullptr) continue;
    const bool canonical = m.canonical && precision == Precision::fp32;
    table.push_back({op::kind_of<Op>, m.provider, canonical, false, edges, bind, &m, precision});
    return;
  }
}

}  // namespace tenon::cpu
