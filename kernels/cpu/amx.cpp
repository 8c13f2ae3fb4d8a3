// Tiles are 8 KiB of state more for each thread, so Linux saves them only for processes that have asked (5.16 and later;
// Documentation/arch/x86/xstate.rst).
#include "kernels/cpu/amx.hpp"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#endif

namespace tenon::cpu {

#if defined(__x86_64__) && defined(__linux__)
namespace {

bool bit(unsigned value, int number) { return (value >> number & 1) != 0; }

/// Processor and system, by CPUID and XCR0.
bool tiles_exist() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || !bit(c, 27)) return false;  // OSXSAVE: XCR0 can be read
  std::uint32_t low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  constexpr std::uint32_t vectors = 0xE6, tiles = 0x60000;  // SSE, AVX, AVX-512's three; XTILECFG, XTILEDATA
  if ((low & (vectors | tiles)) != (vectors | tiles)) return false;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  const bool amx = bit(d, 22) && bit(d, 24);                                               // AMX-BF16, AMX-TILE
  const bool avx512 = bit(b, 16) && bit(b, 17) && bit(b, 28) && bit(b, 30) && bit(b, 31);  // F, DQ, CD, BW, VL
  if (!amx || !avx512 || a < 1) return false;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && bit(a, 5);  // AVX512-BF16
}

}  // namespace

bool amx_available() {
  static const bool granted = [] {
    constexpr long request_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return tiles_exist() && syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
  }();
  return granted;
}
#else
bool amx_available() { return false; }
#endif

}  // namespace tenon::cpu
