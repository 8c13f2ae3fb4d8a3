// The emulated rows take the place that those of cpu.amx have where there are any.
#include "tests/amx_emulation/amx_emulation.hpp"

#include "kernels/cpu/bf16_kernels.hpp"
#include "kernels/cpu/rows.hpp"
#include "tests/support/catch.hpp"

namespace tenon::cpu::amx_emulated {
extern const Bf16Kernels bf16_table;
}

namespace tenon::tests {

bool emulate_amx() {
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
    WARN("skipped: the emulation of AMX needs AVX2 and FMA");
    return false;
  }
  static const bool once = [] {
    KernelTable& table = cpu::backend_table();
    KernelTable rows;
    cpu::append_bf16_rows(rows, cpu::amx_emulated::bf16_table);
    table.insert(table.begin(), rows.begin(), rows.end());
    return true;
  }();
  return once;
}

}  // namespace tenon::tests
