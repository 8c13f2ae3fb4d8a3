// Every row of a provider in a device's kernel table against the reference: fixed cases, and at least 250 random ones
// that the row accepts, most of them aimed at the sizes where it changes its path.
#pragma once
#include <string_view>

#include "tenon/backend.hpp"

namespace tenon::tests {

/// Canonical rows give the reference's bits; the others, and the reference's float against its double, keep the bounds of
/// lib/train/error_bound.cpp; small integers come out exact, NaN propagates, nothing is written outside. Rows of bf16: the
/// same bits for every number of threads, and infinity propagates. Prints a table; one failing case is reproduced by its
/// name and seed, which the message carries. TENON_TEST_CASES is another number than 250, for a processor that is emulated;
/// TENON_TEST_OPS=conv2d,softmax names the only operations to run; TENON_TEST_SMALL leaves the large cases out, where a sanitizer
/// watches an emulation. Returns the number of rows, run or not.
int check_rows(std::string_view provider, Backend& device = backend("cpu"));

}  // namespace tenon::tests
