// How the rows of one instruction set come together: the contractions are its own, the other families those of every provider
// (kernels/bind/rows.hpp).
#pragma once
#include <initializer_list>
#include <vector>

#include "kernels/bind/rows.hpp"
#include "kernels/cpu/micro/micro.hpp"
#include "tenon/backend.hpp"

namespace tenon::cpu {

/// All of the families below.
void append_rows(KernelTable&, const Microkernels&);

void append_contraction_rows(KernelTable&, const Microkernels&);

/// backend("cpu").
[[nodiscard]] Backend& host_backend();
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

/// Appends the row of a contraction: see bind::append.
template <class Op>
void append(KernelTable& table, const Microkernels& m, std::initializer_list<RunFn> loops,
            Bound (*bind)(const Problem&, const Kernel&), Edges edges, Precision precision = Precision::fp32,
            Pieces pieces = Pieces::none) {
  bind::append<Op>(table, m, &m, loops, bind, edges, precision, pieces);
}

}  // namespace tenon::cpu
