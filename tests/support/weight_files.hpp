// Weight files made by hand, and what the reader says about them.
#pragma once
#include <cstdint>
#include <string>

#include "tenon/error.hpp"
#include "tenon/io.hpp"
#include "tests/support/catch.hpp"

namespace tenon::test {

/// The first eight bytes of a file.
inline std::string length_of(std::uint64_t n) { return {reinterpret_cast<const char*>(&n), 8}; }
/// A file as another writer might make it.
inline std::string foreign(const std::string& header, const std::string& payload) {
  return length_of(header.size()) + header + payload;
}

/// The message of the CheckpointError that reading gives.
inline std::string refusal(const std::string& path) {
  try {
    (void)read_safetensors(path);
  } catch (const CheckpointError& error) {
    CHECK(std::string(error.what()).find('\n') == std::string::npos);
    CHECK(std::string(error.what()).find(path) != std::string::npos);
    return error.what();
  }
  return "accepted";
}

}  // namespace tenon::test
