// The library's words: a sink that the program may set, TENON_VERBOSE for everyone else.
#include "tenon/log.hpp"

#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string_view>

namespace tenon {
namespace {

std::mutex mutex;
LogSink& sink() {
  static LogSink s = [](LogLevel level, const std::string& text) {
    if (std::getenv("TENON_VERBOSE") == nullptr) return;
    std::fprintf(stderr, "%s%s\n", level == LogLevel::warning ? "warning: " : "", text.c_str());
  };
  return s;
}

}  // namespace

void set_log(LogSink s) {
  const std::lock_guard lock(mutex);
  sink() = std::move(s);
}

void log_to_stderr() {
  set_log([](LogLevel level, const std::string& text) {
    std::fprintf(stderr, "%s%s\n", level == LogLevel::warning ? "warning: " : "", text.c_str());
  });
}

namespace detail {

void log(LogLevel level, const std::string& text) {
  const std::lock_guard lock(mutex);
  if (sink()) sink()(level, text);
}

bool verbose(const char* topic) {
  const char* topics = std::getenv("TENON_VERBOSE");
  if (topics == nullptr) return false;
  const std::string list = "," + std::string(topics) + ",";
  return list.find("," + std::string(topic) + ",") != std::string::npos || list == ",all,";
}

}  // namespace detail
}  // namespace tenon
