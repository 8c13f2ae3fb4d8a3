// What rows with Pieces::results and Pieces::elements promise to the step that joins them.
#pragma once
#include <string_view>

#include "tenon/backend.hpp"

namespace tenon::tests {

/// Every row of a provider with Pieces::results, on the case list and on products of several chunks, with 1 to 4 threads: the
/// ranges that it tells make up out[0] once, each is final when it is told, and whoever listens changes no bit. Returns the
/// number of rows.
int check_results(std::string_view provider, Backend& device = backend("cpu"));
/// Every row with Pieces::elements: parts of any size and place have the bits of the whole. Returns the number of rows.
int check_elements(std::string_view provider, Backend& device = backend("cpu"));

}  // namespace tenon::tests
