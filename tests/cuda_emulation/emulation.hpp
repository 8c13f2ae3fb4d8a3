// What tests ask of the emulation: the schedule, the calls of the runtime that were made, errors to inject.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tests/cuda_emulation/runtime.hpp"
#include "tests/cuda_emulation/state.hpp"

namespace tenon::cuda::emulation {

/// Who goes first, among the threads of a block that could, and among blocks.
enum class Schedule : std::uint8_t {
  forward,            // the lowest number: a warp goes on until it waits for others
  reverse,            // the highest
  warps_interleaved,  // the lowest lane of all warps; blocks of even number, then the others
  random              // anyone
};
/// For all OS threads, from the next launch on. The default is TENON_CUDA_SCHEDULE: forward, reverse, interleaved or
/// random:SEED.
void set_schedule(Schedule, std::uint64_t seed = 0);
/// As TENON_CUDA_SCHEDULE has it. Throws EmulationError.
void set_schedule(std::string_view);
[[nodiscard]] std::string schedule_text();

/// Whether an error of a kernel leaves launch() as EmulationError (the default), or stays, as on a GPU, as
/// cudaErrorLaunchFailure in all calls to come until reset().
void throw_on_error(bool);
[[nodiscard]] std::string last_error_text();  // of the last error that stayed
/// No sticky error, no injected ones, no list of calls; whether errors are thrown, and when work runs, stays.
void reset();

/// Whether streams put their work off until something waits for them, as a GPU may; the default is at once. Kernels'
/// errors then come from what waits.
void run_late(bool);

/// Calls of the runtime since clear_calls(), with their main arguments, as "cudaMalloc(256)".
[[nodiscard]] std::vector<std::string> calls();
void clear_calls();
/// The next call of that name (or "launch") does nothing and returns the error.
void fail_next(std::string_view name, cudaError_t);
/// Bytes that cudaMalloc gave and cudaFree did not take back.
[[nodiscard]] std::size_t device_bytes();

}  // namespace tenon::cuda::emulation
