// What the benchmark programs share at their edges: errors as one line on stderr with the exit code that fits, and order
// statistics.
#pragma once
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <new>
#include <string>
#include <vector>

#include "tenon/error.hpp"
#include "tenon/log.hpp"

namespace tenon::bench {

/// Runs `body`, which parses the command line with `app` and does the work.
inline int run_program(const std::string& name, const CLI::App& app, const std::function<void()>& body) {
  const auto fail = [&](const std::string& message, ExitCode code) {
    std::fprintf(stderr, "%s: %s\n", name.c_str(), message.c_str());
    return static_cast<int>(code);
  };
  try {
    log_to_stderr();
    body();
  } catch (const CLI::CallForHelp&) {
    std::fputs(app.help().c_str(), stdout);
  } catch (const CLI::ParseError& e) {
    return fail(e.what(), ExitCode::usage);
  } catch (const Error& e) {
    return fail(e.what(), e.code());
  } catch (const std::bad_alloc&) {
    return fail("not enough memory", ExitCode::memory);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s: %s\n", name.c_str(), e.what());
    return 1;
  }
  return 0;
}

/// Value below which a share `q` of the samples lies, between neighbours by a straight line. `samples` is not empty.
inline double quantile(std::vector<double> samples, double q) {
  std::sort(samples.begin(), samples.end());
  const double at = q * static_cast<double>(samples.size() - 1);
  const auto low = static_cast<std::size_t>(at);
  const std::size_t high = std::min(low + 1, samples.size() - 1);
  return samples[low] + (at - std::floor(at)) * (samples[high] - samples[low]);
}

}  // namespace tenon::bench
