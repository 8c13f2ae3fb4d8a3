// Rows that joined updates are made of, provider by provider.
#include <string>

#include "kernels/bind/rows.hpp"
#include "tests/pieces_test.hpp"
#include "tests/support/catch.hpp"

using namespace tenon;

namespace {

constexpr const char* providers[] = {"cpu.amx",  "cpu.avx512", "cpu.avx2", "cpu.baseline",
                                     "cpu.neon", "cpu.eigen",  "reference"};

}  // namespace

TEST_CASE("rows tell of results when they are whole", "[updates][rows]") {
  int rows = 0;
  for (const char* provider : providers) rows += tests::check_results(provider);
  CHECK(rows > 0);
}

TEST_CASE("updates of parts are those of the whole", "[updates][rows]") {
  int rows = 0;
  for (const char* provider : providers) rows += tests::check_elements(provider);
  CHECK(rows >= 2 * 5);
}

TEST_CASE("a device's updates run whole", "[updates][rows]") {
  Loops loops{};
  loops.sgd = loops.adam = [](const Call&) {};
  for (const char* provider : {"cpu.some", "cuda.some"}) {
    loops.provider = provider;
    KernelTable table;
    bind::append_rows(table, loops);
    REQUIRE(table.size() == 2);
    for (const Kernel& row : table)
      CHECK(row.pieces == (provider == std::string("cpu.some") ? Pieces::elements : Pieces::none));
  }
}
