// The real MNIST for tests: TENON_MNIST, or shared/mnist beside the checkout. Without it a test says so and skips.
#pragma once
#include <cstdlib>
#include <filesystem>
#include <optional>

#include "tenon/data.hpp"

namespace tenon::test {

inline std::optional<std::string> mnist_folder() {
  if (const char* named = std::getenv("TENON_MNIST"); named != nullptr && *named != '\0') return named;
  const std::filesystem::path beside = std::filesystem::path(TENON_SOURCE_DIR).parent_path() / "shared" / "mnist";
  if (std::filesystem::is_directory(beside)) return beside.string();
  return std::nullopt;
}

inline std::optional<MnistData> mnist() {
  const std::optional<std::string> folder = mnist_folder();
  if (!folder) return std::nullopt;
  return load_mnist({.data_folder = *folder});
}

}  // namespace tenon::test

/// Ends the test with a visible word where there is no MNIST.
#define TENON_REQUIRE_MNIST(name)                                                 \
  const auto name##_found = tenon::test::mnist();                                 \
  if (!name##_found) {                                                            \
    WARN("skipped: no MNIST in TENON_MNIST or shared/mnist beside the checkout"); \
    return;                                                                       \
  }                                                                               \
  const tenon::MnistData& name = *name##_found
