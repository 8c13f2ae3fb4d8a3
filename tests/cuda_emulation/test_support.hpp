// For the tests of the emulation: every schedule in turn, and what an error says.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "kernels/cuda/device.cuh"
#include "tests/cuda_emulation/emulation.hpp"
#include "tests/support/catch.hpp"

namespace tenon::cuda::emulation {

inline const char* const schedules[] = {"forward", "reverse", "interleaved", "random:1", "random:2", "random:3"};

/// body() under each schedule; forward again afterwards.
template <class Body>
void under_all_schedules(const Body& body) {
  for (const char* schedule : schedules) {
    set_schedule(schedule);
    INFO("schedule " << schedule);
    body();
  }
  set_schedule("forward");
}

/// The text of the EmulationError that body() throws; empty if it throws none.
template <class Body>
std::string error_of(const Body& body) {
  try {
    body();
  } catch (const EmulationError& e) {
    return e.what();
  }
  return "";
}

inline bool says(const std::string& text, std::string_view part) {
  UNSCOPED_INFO("'" << text << "' shall contain '" << part << "'");
  return text.find(part) != std::string::npos;
}

/// One block, without a stream.
template <class... P, class... A>
void run(void (*kernel)(P...), unsigned threads, std::size_t shared, A... arguments) {
  launch(Call{}, kernel, dim3(1), dim3(threads), shared, arguments...);
}

}  // namespace tenon::cuda::emulation
