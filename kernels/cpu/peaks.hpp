// The limits of the machine, measured by the process that wants to know, with as many threads as its kernels have: FMAs
// in registers for each instruction set (products of tiles for AMX), and the bytes that a copy moves.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/cpu/rows.hpp"

namespace tenon::cpu {

class Peaks {
 public:
  /// Of the instruction sets in use: what the processor has, up to TENON_ISA.
  explicit Peaks(int threads, std::vector<PeakLoop> loops = peak_loops());

  /// One more trial of everything, each at least 10 ms long. The best of all trials counts, because whatever else runs on
  /// the machine can only take away.
  void measure();

  /// Names of the instruction sets, the widest first: "avx512", "avx2", "baseline"; "neon"; then "amx", whose products are of
  /// bf16.
  [[nodiscard]] std::vector<std::string> names() const;
  /// FLOP/s (an FMA is two) of the instruction set in a provider's name, "cpu.avx2"; of the widest for any other provider.
  [[nodiscard]] double flops(std::string_view provider) const;
  /// Bytes read and written by a copy, a second.
  [[nodiscard]] double bandwidth() const { return bandwidth_; }
  /// Bytes of the copy's source; as many are written. Four times the threads' L2 caches together, at least 16 MiB: the size
  /// of a training step's larger values.
  [[nodiscard]] std::size_t copy_bytes() const { return copy_bytes_; }
  [[nodiscard]] int threads() const { return threads_; }
  /// `2 threads: avx512 251.3 GFLOP/s, avx2 ..., copy of 16 MiB 38.2 GB/s`
  [[nodiscard]] std::string str() const;

 private:
  struct Level {
    PeakLoop loop;
    double flops = 0;
  };

  int threads_;
  std::vector<Level> levels_;
  double bandwidth_ = 0;
  std::size_t copy_bytes_ = 0;
  std::vector<float> source_, target_;
};

}  // namespace tenon::cpu
