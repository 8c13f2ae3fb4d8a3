// Tensor core products, ldmatrix, cp.async and vectors in shared memory. The maps of fragments are those that ptx.cuh
// writes down.
#include "tests/cuda_emulation/ptx.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "tests/cuda_emulation/race.hpp"

namespace tenon::cuda::emulation {
namespace {

constexpr unsigned all = 0xffffffffu;

struct Product {
  float* d;
  const unsigned *a, *b;
};

/// Element `part` of a register.
template <Operand type>
double element(unsigned word, int part) {
  if constexpr (type == Operand::tf32) return std::bit_cast<float>(word & ~0x1fffu);
  const unsigned half = word >> 16 * part & 0xffff;
  return type == Operand::bf16 ? std::bit_cast<float>(half << 16) : widened_f16(half);
}

/// A row of D. As a vector, because the sums of a tile are most of the time of every test of these words.
using Columns = double __attribute__((vector_size(64)));

template <Operand type>
void multiply_tiles(void* const arguments[lanes], unsigned) {
  const auto lane = [&](int g, int t) -> const Product& { return *static_cast<const Product*>(arguments[4 * g + t]); };
  constexpr int parts = type == Operand::tf32 ? 1 : 2;  // elements of a register, neighbours in k
  constexpr int half = 4 * parts, depth = 2 * half;
  double a[16][depth];
  Columns b[depth], d[16];
  for (int g = 0; g < 8; ++g)
    for (int t = 0; t < 4; ++t) {
      const Product& mine = lane(g, t);
      for (int p = 0; p < parts; ++p) {
        const int k = t * parts + p;
        for (int i = 0; i < 4; ++i) a[g + i % 2 * 8][k + i / 2 * half] = element<type>(mine.a[i], p);
        for (int i = 0; i < 2; ++i) b[k + i * half][g] = element<type>(mine.b[i], p);
      }
      for (int i = 0; i < 4; ++i) d[g + i / 2 * 8][2 * t + i % 2] = mine.d[i];
    }
  for (int row = 0; row < 16; ++row) {
    Columns sum = d[row];
    for (int k = 0; k < depth; ++k) sum += a[row][k] * b[k];
    d[row] = sum;
  }
  for (int g = 0; g < 8; ++g)
    for (int t = 0; t < 4; ++t)
      for (int i = 0; i < 4; ++i) lane(g, t).d[i] = static_cast<float>(d[g + i / 2 * 8][2 * t + i % 2]);
}

struct Matrices {
  int count;
  bool transposed;
  unsigned* r;
  const unsigned char* row;
  Site where;
};

void load_rows(void* const arguments[lanes], unsigned) {
  const auto lane = [&](std::uint32_t l) -> const Matrices& { return *static_cast<const Matrices*>(arguments[l]); };
  const Thread* const first = running_block->thread + std::size_t{running->warp} * lanes;
  for (std::uint32_t l = 0; l < lanes; ++l)
    for (std::uint32_t m = 0; m < static_cast<std::uint32_t>(lane(l).count); ++m) {
      std::uint16_t halves[2];
      for (std::uint32_t i = 0; i < 2; ++i) {
        const std::uint32_t across = l / 4, along = l % 4 * 2 + i;
        const std::uint32_t row = lane(l).transposed ? along : across, column = lane(l).transposed ? across : along;
        const unsigned char* at = lane(m * 8 + row).row + column * 2;
        touch_bytes(Access::read, first[l], at, 2, lane(l).where);
        std::memcpy(&halves[i], at, 2);
      }
      lane(l).r[m] = halves[0] | static_cast<unsigned>(halves[1]) << 16;
    }
}

std::string caller(const char* word, const Site& where) {
  return "thread " + std::to_string(running->number) + " called " + word + " at " + text(where);
}

/// So many bytes in the block's shared memory.
void check_shared(const char* word, const void* shared, const Site& where, int bytes = 16) {
  if (!running_block->owns(shared, static_cast<std::size_t>(bytes)))
    fail(caller(word, where) + " with an address outside shared memory");
  const auto byte = static_cast<const unsigned char*>(shared) - running_block->shared;
  if (byte % bytes != 0)
    fail(caller(word, where) + " with byte " + std::to_string(byte) + " of shared memory, which is not aligned to " +
         std::to_string(bytes));
}

}  // namespace

void multiply(Operand type, const char* word, float* d, const unsigned* a, const unsigned* b, const Site& where) {
  Product mine{d, a, b};
  constexpr Complete complete[] = {multiply_tiles<Operand::tf32>, multiply_tiles<Operand::bf16>,
                                   multiply_tiles<Operand::f16>};
  meet_warp(word, all, where, &mine, complete[static_cast<int>(type)]);
}

void load_matrices(const char* word, int count, bool transposed, unsigned* r, const void* shared, const Site& where) {
  if (running->lane < static_cast<std::uint32_t>(count) * 8) check_shared(word, shared, where);
  Matrices mine{count, transposed, r, static_cast<const unsigned char*>(shared), where};
  meet_warp(word, all, where, &mine, load_rows);
}

void copy_async(void* shared, const void* global, bool valid, std::size_t bytes, const Site& where) {
  const char* word = bytes == 16 ? "cp_async_16" : "cp_async_4";
  check_shared(word, shared, where, static_cast<int>(bytes));
  if (valid && reinterpret_cast<std::uintptr_t>(global) % bytes != 0)
    fail(caller(word, where) + " with a source that is not aligned to " + std::to_string(bytes));
  auto* to = static_cast<unsigned char*>(shared);
  touch_bytes(Access::copy, *running, to, bytes, where);
  mark_pending(to, bytes, true);
  for (std::size_t i = 0; i < bytes; i += 2) std::memcpy(to + i, &nan_pattern, 2);
  running->copies.push_back({to, valid ? global : nullptr, bytes, running->group, where});
}

void commit_copies() { ++running->group; }

void wait_for_copies(int groups, const Site&) {
  Thread& t = *running;
  const auto done = [&](const AsyncCopy& c) { return c.group + static_cast<std::uint32_t>(groups) < t.group; };
  for (const AsyncCopy& c : t.copies) {
    if (!done(c)) continue;
    if (c.from != nullptr)
      std::memcpy(c.to, c.from, c.bytes);
    else
      std::memset(c.to, 0, c.bytes);
    touch_bytes(Access::copy, t, c.to, c.bytes, c.where);
    mark_pending(c.to, c.bytes, false);
  }
  std::erase_if(t.copies, done);
}

void load_four(void* to, const void* shared, const Site& where) {
  check_shared("load_4", shared, where);
  const auto* from = static_cast<const unsigned char*>(shared);
  for (int i = 0; i < 4; ++i) touch(Access::read, *running, from + 4 * i, 4, -1, where);
  std::memcpy(to, shared, 16);
}
void store_four(void* shared, const void* from, const Site& where) {
  check_shared("store_4", shared, where);
  auto* to = static_cast<unsigned char*>(shared);
  for (int i = 0; i < 4; ++i) touch(Access::write, *running, to + 4 * i, 4, -1, where);
  std::memcpy(shared, from, 16);
}
void load_some(void* to, const void* shared, std::size_t bytes, const Site& where) {
  check_shared(bytes == 4 ? "load_1" : "load_2", shared, where, static_cast<int>(bytes));
  const auto* from = static_cast<const unsigned char*>(shared);
  for (std::size_t i = 0; i < bytes; i += 4) touch(Access::read, *running, from + i, 4, -1, where);
  std::memcpy(to, shared, bytes);
}
void store_some(void* shared, const void* from, std::size_t bytes, const Site& where) {
  check_shared(bytes == 4 ? "store_1" : "store_words", shared, where, static_cast<int>(bytes));
  auto* to = static_cast<unsigned char*>(shared);
  for (std::size_t i = 0; i < bytes; i += 4) touch(Access::write, *running, to + i, 4, -1, where);
  std::memcpy(shared, from, bytes);
}

}  // namespace tenon::cuda::emulation
