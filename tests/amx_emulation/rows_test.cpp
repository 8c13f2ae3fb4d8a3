// Rows of cpu.amx, emulated, against the reference.
#include "tests/amx_emulation/amx_emulation.hpp"
#include "tests/pieces_test.hpp"
#include "tests/row_test.hpp"
#include "tests/support/catch.hpp"

using namespace tenon::tests;

TEST_CASE("emulated rows of cpu.amx agree with the reference", "[amx][rows]") {
  if (!emulate_amx()) return;
  CHECK(check_rows("cpu.amx_emulated") == 12);
}

TEST_CASE("emulated products tell of results when they are whole", "[amx][rows]") {
  if (!emulate_amx()) return;
  CHECK(check_results("cpu.amx_emulated") == 2);
}
