// Where the library's words go: it prints nothing by itself.
#pragma once
#include <functional>
#include <string>

namespace tenon {

enum class LogLevel { info, warning };
using LogSink = std::function<void(LogLevel, const std::string&)>;

/// Replaces the sink; an empty one silences the library. Without a call, text goes to stderr only while
/// TENON_VERBOSE is set.
void set_log(LogSink sink);
/// Programs: warnings and TENON_VERBOSE tables to stderr.
void log_to_stderr();

namespace detail {
void log(LogLevel, const std::string&);
/// True when TENON_VERBOSE lists `topic` (plan, dispatch, time).
[[nodiscard]] bool verbose(const char* topic);
}  // namespace detail

}  // namespace tenon
