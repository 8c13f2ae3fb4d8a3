// A process of the test's own, to be killed or to compete with others.
#pragma once
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <functional>

#include "tests/support/catch.hpp"

namespace tenon::test {

/// Runs `body` in a child, which leaves without destructors: status 0, or 1 where it throws.
inline pid_t child(const std::function<void()>& body) {
  (void)std::fflush(stdout);  // ThreadSanitizer's _exit writes what is held, and each child would hold it
  const pid_t pid = ::fork();
  REQUIRE(pid >= 0);
  if (pid > 0) return pid;
  try {
    body();
  } catch (...) {
    ::_exit(1);
  }
  ::_exit(0);
}

inline int wait_for(pid_t pid) {
  int status = 0;
  REQUIRE(::waitpid(pid, &status, 0) == pid);
  return status;
}

}  // namespace tenon::test
