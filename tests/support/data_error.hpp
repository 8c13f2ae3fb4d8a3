// What every message about bad data has in common.
#pragma once
#include <algorithm>
#include <string>

#include "tenon/error.hpp"
#include "tests/support/catch.hpp"

namespace tenon::test {

/// The message of the DataError that `f` must throw: not empty, at most three lines.
template <class F>
std::string data_error(F&& f) {
  try {
    f();
  } catch (const DataError& e) {
    const std::string text = e.what();
    REQUIRE(text.size() > 10);
    REQUIRE(std::count(text.begin(), text.end(), '\n') <= 2);
    return text;
  }
  FAIL("no DataError");
  return "";
}

inline bool has(const std::string& text, const std::string& words) { return text.find(words) != std::string::npos; }

}  // namespace tenon::test
