// The message of an error that is expected: one line.
#pragma once
#include <functional>
#include <string>

#include "tests/support/catch.hpp"

namespace tenon::test {

template <class E>
std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const E& error) {
    CHECK(std::string(error.what()).find('\n') == std::string::npos);
    return error.what();
  }
  return "no error";
}

}  // namespace tenon::test
