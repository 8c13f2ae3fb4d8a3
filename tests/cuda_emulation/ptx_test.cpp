// The words of ptx.cuh: products and ldmatrix against plain matrices, rounding, cp.async; and faults in their use.
#include "kernels/cuda/ptx.cuh"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>

#include "tests/cuda_emulation/test_support.hpp"

using namespace tenon;
using namespace tenon::cuda;
using namespace tenon::cuda::emulation;

namespace {

/// d (16,8) += a (16,8) b (8,8) of tf32. Both operands come from memory as the ISA's maps say; `fault` exchanges two
/// registers.
__global__ void product_tf32(const float* a, const float* b, float* d, bool fault) {
  const auto g = static_cast<int>(threadIdx.x) / 4, t = static_cast<int>(threadIdx.x) % 4;
  unsigned fa[4], fb[2];
  for (int i = 0; i < 4; ++i) fa[i] = to_tf32(a[(g + i % 2 * 8) * 8 + t + i / 2 * 4]);
  for (int i = 0; i < 2; ++i) fb[i] = to_tf32(b[(t + i * 4) * 8 + g]);
  if (fault) std::swap(fa[1], fa[2]);
  float fd[4];
  for (int i = 0; i < 4; ++i) fd[i] = d[(g + i / 2 * 8) * 8 + 2 * t + i % 2];
  mma_m16n8k8_tf32(fd, fa, fb);
  for (int i = 0; i < 4; ++i) d[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = fd[i];
}

struct Tiles {
  Shared<std::uint16_t, 16 * 16> a;
  Shared<std::uint16_t, 16 * 8> b;
};

/// d (16,8) += a (16,16) b (16,8) of 16 bits, through shared memory and ldmatrix.
template <bool bf16>
__global__ void product_16_bits(const float* a, const float* b, float* d) {
  Tiles& s = shared_storage<Tiles>();
  const auto lane = static_cast<int>(threadIdx.x), g = lane / 4, t = lane % 4;
  const auto pack = [](float v) { return static_cast<std::uint16_t>(bf16 ? pack_bf16x2(v, 0.f) : pack_f16x2(v, 0.f)); };
  for (int i = lane; i < 256; i += 32) s.a[i] = pack(a[i]);
  for (int i = lane; i < 128; i += 32) s.b[i] = pack(b[i]);
  __syncthreads();
  unsigned fa[4], fb[2];
  ldmatrix_x4(fa, s.a.at(lane % 16 * 16 + lane / 16 * 8));  // rows 0-7, rows 8-15, then the same of columns 8-15
  ldmatrix_x2_trans(fb, s.b.at(lane % 16 * 8));
  float fd[4];
  for (int i = 0; i < 4; ++i) fd[i] = d[(g + i / 2 * 8) * 8 + 2 * t + i % 2];
  if constexpr (bf16)
    mma_m16n8k16_bf16(fd, fa, fb);
  else
    mma_m16n8k16_f16(fd, fa, fb);
  for (int i = 0; i < 4; ++i) d[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = fd[i];
}

/// Every form of ldmatrix on four matrices of 8 by 8 numbers.
__global__ void matrices(unsigned* out) {
  auto& m = shared_storage<Tiles>().a;
  const auto lane = static_cast<int>(threadIdx.x);
  for (int i = lane; i < 256; i += 32) m[i] = static_cast<std::uint16_t>(i);
  __syncthreads();
  unsigned* r = out + lane * 12;
  ldmatrix_x4(r, m.at(lane * 8));
  ldmatrix_x4_trans(r + 4, m.at(lane * 8));
  ldmatrix_x2(r + 8, lane < 16 ? m.at(lane * 8) : nullptr);
  ldmatrix_x2_trans(r + 10, lane < 16 ? m.at(lane * 8) : nullptr);
}

enum class Fault { none, alignment, outside, barrier, partial_warp };
template <Fault fault>
__global__ void load_faulty(unsigned* out) {
  auto& m = shared_storage<Tiles>().a;
  const auto lane = static_cast<int>(threadIdx.x);
  for (int i = lane; i < 256; i += 32) m[i] = static_cast<std::uint16_t>(i);
  if constexpr (fault != Fault::barrier) __syncwarp();
  if (fault == Fault::partial_warp && lane > 20) return;
  alignas(16) std::uint16_t local[8] = {};
  unsigned r[4];
  ldmatrix_x4(r, fault == Fault::outside && lane == 3 ? local : m.at(lane * 8 + (fault == Fault::alignment ? 4 : 0)));
  out[lane] = r[0];
}

struct Words {
  Shared<unsigned, 192> x;
};
struct Line {
  Shared<float, 256> x;
};
enum class Copy { right, no_wait, too_few, no_barrier, raw_no_wait, overwrites };
/// Two groups of 128 floats; what of the first can be seen when.
template <Copy how>
__global__ void copies(const float* from, float* to, int valid) {
  auto& x = shared_storage<Line>().x;
  const auto lane = static_cast<int>(threadIdx.x);
  cp_async_16(x.at(4 * lane), from + 4 * lane, lane < valid);
  cp_async_commit();
  cp_async_16(x.at(128 + 4 * lane), from + 128 + 4 * lane, true);
  cp_async_commit();
  if constexpr (how == Copy::overwrites) x[4 * lane] = 1.f;
  if constexpr (how == Copy::right || how == Copy::no_barrier) cp_async_wait<1>();
  if constexpr (how == Copy::too_few) cp_async_wait<2>();
  if constexpr (how != Copy::no_barrier) __syncthreads();
  if constexpr (how == Copy::raw_no_wait)
    for (int i = 0; i < 4; ++i) to[4 * lane + i] = x.at(0)[4 * (31 - lane) + i];
  else
    for (int i = 0; i < 4; ++i) to[4 * lane + i] = x[4 * (31 - lane) + i];
  cp_async_wait<0>();
}
__global__ void copy_misaligned(const float* from, int to_offset, int from_offset) {
  cp_async_16(shared_storage<Line>().x.at(to_offset), from + from_offset, true);
}

__global__ void vectors(float* out) {
  auto& x = shared_storage<Line>().x;
  const auto t = static_cast<int>(threadIdx.x);
  store_4(x.at(4 * t), make_float4(1.f, 2.f, 3.f, static_cast<float>(t)));
  __syncwarp();
  const float4 v = load_4(x.at(4 * (31 - t)));
  out[t] = v.x + v.y + v.z + v.w;
}
__global__ void words(float* out) {
  auto& x = shared_storage<Words>().x;
  const auto t = static_cast<unsigned>(threadIdx.x);
  store_words(x.at(4 * t), make_uint4(1, 2, 3, t));
  store_words(x.at(128 + 2 * t), make_uint2(10, t));
  __syncwarp();
  const uint4 v = load_4(x.at(4 * (31 - t)));
  out[t] = static_cast<float>(v.x + v.y + v.z + v.w + x[128 + 2 * (31 - t)] + x[129 + 2 * (31 - t)]);
}
__global__ void words_misaligned() { store_words(shared_storage<Words>().x.at(2 * threadIdx.x + 1), make_uint2(0, 0)); }
__global__ void vectors_race(float* out) {
  auto& x = shared_storage<Line>().x;
  const auto t = static_cast<int>(threadIdx.x);
  x[4 * t + 2] = 1.f;
  out[t] = load_4(x.at(4 * (31 - t))).x;
}

std::vector<float> random_numbers(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> v(n);
  for (float& x : v) x = std::uniform_real_distribution<float>(-1.f, 1.f)(random);
  return v;
}

/// d + a b, with the operands as `rounded` makes them.
template <class Rounded>
std::vector<float> plain_product(const std::vector<float>& a, const std::vector<float>& b, std::vector<float> d,
                                 int depth, const Rounded& rounded) {
  for (int i = 0; i < 16; ++i)
    for (int j = 0; j < 8; ++j) {
      double sum = d[static_cast<std::size_t>(i * 8 + j)];
      for (int k = 0; k < depth; ++k)
        sum += static_cast<double>(rounded(a[static_cast<std::size_t>(i * depth + k)])) *
               rounded(b[static_cast<std::size_t>(k * 8 + j)]);
      d[static_cast<std::size_t>(i * 8 + j)] = static_cast<float>(sum);
    }
  return d;
}

}  // namespace

TEST_CASE("a product of tf32 is that of its matrices", "[cuda][emulation][ptx]") {
  const auto a = random_numbers(128, 1), b = random_numbers(64, 2), d = random_numbers(128, 3);
  const auto expected = plain_product(a, b, d, 8, [](float v) { return std::bit_cast<float>(to_tf32(v)); });
  under_all_schedules([&] {
    auto got = d, faulty = d;
    run(product_tf32, 32, 0, a.data(), b.data(), got.data(), false);
    CHECK(got == expected);
    run(product_tf32, 32, 0, a.data(), b.data(), faulty.data(), true);
    CHECK(faulty != expected);
  });
}

TEST_CASE("products of 16 bits through ldmatrix", "[cuda][emulation][ptx]") {
  const auto a = random_numbers(256, 1), b = random_numbers(128, 2), d = random_numbers(128, 3);
  const auto bf16 = plain_product(a, b, d, 16, [](float v) { return widened_bf16(pack_bf16x2(v, 0.f)); });
  const auto f16 = plain_product(a, b, d, 16, [](float v) { return widened_f16(pack_f16x2(v, 0.f)); });
  under_all_schedules([&] {
    auto got = d;
    run(product_16_bits<true>, 32, sizeof(Tiles), a.data(), b.data(), got.data());
    CHECK(got == bf16);
    got = d;
    run(product_16_bits<false>, 32, sizeof(Tiles), a.data(), b.data(), got.data());
    CHECK(got == f16);
  });
}

TEST_CASE("ldmatrix gives every lane its numbers", "[cuda][emulation][ptx]") {
  under_all_schedules([] {
    std::vector<unsigned> out(32 * 12);
    run(matrices, 32, sizeof(Tiles), out.data());
    bool right = true;
    for (unsigned lane = 0; lane < 32; ++lane)
      for (unsigned i = 0; i < 4; ++i) {
        const unsigned first = i * 64, g = lane / 4, t = lane % 4;
        const unsigned plain = (first + g * 8 + 2 * t) | (first + g * 8 + 2 * t + 1) << 16;
        const unsigned transposed = (first + 2 * t * 8 + g) | (first + (2 * t + 1) * 8 + g) << 16;
        right = right && out[lane * 12 + i] == plain && out[lane * 12 + 4 + i] == transposed;
        if (i < 2) right = right && out[lane * 12 + 8 + i] == plain && out[lane * 12 + 10 + i] == transposed;
      }
    CHECK(right);
  });
}

TEST_CASE("ldmatrix used wrongly", "[cuda][emulation][ptx]") {
  under_all_schedules([] {
    std::vector<unsigned> out(32);
    const auto error = [&](void (*kernel)(unsigned*)) {
      return error_of([&] { run(kernel, 32, sizeof(Tiles), out.data()); });
    };
    CHECK(error(load_faulty<Fault::none>).empty());
    CHECK(says(error(load_faulty<Fault::alignment>), "of shared memory, which is not aligned to 16"));
    CHECK(says(error(load_faulty<Fault::outside>), "thread 3 called ldmatrix_x4 at "));
    CHECK(says(error(load_faulty<Fault::barrier>), "race at byte "));
    CHECK(says(error(load_faulty<Fault::partial_warp>), "returned"));
  });
}

TEST_CASE("cp.async arrives at the wait that covers it", "[cuda][emulation][ptx]") {
  const auto from = random_numbers(260, 5);
  // cp.async wants 16 bytes; std::vector promises as many.
  under_all_schedules([&] {
    std::vector<float> to(128);
    const auto error = [&](void (*kernel)(const float*, float*, int)) {
      return error_of([&] { run(kernel, 32, sizeof(Line), from.data(), to.data(), 30); });
    };
    CHECK(error(copies<Copy::right>).empty());
    bool right = true;
    for (std::size_t i = 0; i < 128; ++i) {
      const std::size_t source = (31 - i / 4) * 4 + i % 4;
      right = right && to[i] == (source < 120 ? from[source] : 0.f);  // what is not valid is zero
    }
    CHECK(right);
    CHECK(says(error(copies<Copy::no_wait>), "while a cp.async to it is under way"));
    CHECK(says(error(copies<Copy::too_few>), "while a cp.async to it is under way"));
    CHECK(says(error(copies<Copy::overwrites>), "while a cp.async to it is under way"));
    CHECK_FALSE(error(copies<Copy::no_barrier>).empty());
    CHECK(error(copies<Copy::raw_no_wait>).empty());  // nobody watches, but it shows
    CHECK(std::count_if(to.begin(), to.end(), [](float v) { return std::isnan(v); }) >= 60);
    CHECK(says(error_of([&] { run(copy_misaligned, 1, sizeof(Line), from.data(), 1, 0); }), "byte 4 of shared memory"));
    CHECK(
        says(error_of([&] { run(copy_misaligned, 1, sizeof(Line), from.data(), 0, 1); }), "with a source that is not"));
    CHECK(says(error_of([&] { run(copy_misaligned, 1, sizeof(Line), from.data(), 256, 0); }), "outside shared memory"));
  });
}

TEST_CASE("vectors in shared memory", "[cuda][emulation][ptx]") {
  under_all_schedules([] {
    std::vector<float> out(32);
    run(vectors, 32, sizeof(Line), out.data());
    CHECK((out[0] == 37.f && out[31] == 6.f));
    run(words, 32, sizeof(Words), out.data());
    CHECK((out[0] == 78.f && out[31] == 16.f));
    CHECK(says(error_of([&] { run(words_misaligned, 32, sizeof(Words)); }), "not aligned to 8"));
    CHECK(says(error_of([&] { run(vectors_race, 32, sizeof(Line), out.data()); }), "race at byte "));
  });
}

TEST_CASE("rounding to tf32, bf16 and fp16", "[cuda][emulation][ptx]") {
  const float infinity = std::numeric_limits<float>::infinity();
  CHECK(to_tf32(1.f) == 0x3f800000);
  CHECK(to_tf32(1.f + 0x1p-11f) == 0x3f802000);  // ties away from zero
  CHECK(to_tf32(-1.f - 0x1p-11f) == 0xbf802000);
  CHECK(to_tf32(1.f + 0x1p-12f) == 0x3f800000);
  CHECK(to_tf32(infinity) == 0x7f800000);
  CHECK(to_tf32(std::numeric_limits<float>::max()) == 0x7f800000);
  CHECK(pack_bf16x2(1.f, -2.f) == 0xc0003f80);
  CHECK(pack_bf16x2(1.f + 0x1p-8f, 1.f + 0x3p-8f) == 0x3f823f80);  // ties to even
  CHECK(pack_bf16x2(std::numeric_limits<float>::max(), NAN) == 0x7fff7f80);
  CHECK(pack_f16x2(1.f, -2.f) == 0xc0003c00);
  CHECK(pack_f16x2(1.f + 0x1p-11f, 1.f + 0x3p-11f) == 0x3c023c00);
  CHECK(pack_f16x2(65519.f, 65520.f) == 0x7c007bff);
  CHECK(pack_f16x2(0x1p-24f, 0x1p-25f) == 0x00000001);
  CHECK(pack_f16x2(0x1.ff8p-15f, 0x1.ffcp-15f) ==
        0x040003ff);  // the largest subnormal, and what rounds to the smallest normal
  CHECK(pack_f16x2(-0.f, NAN) == 0x7fff8000);
  for (unsigned bits = 0; bits < 0x7c00; ++bits)
    if (pack_f16x2(widened_f16(bits), -widened_f16(bits)) != ((bits | 0x8000) << 16 | bits)) FAIL("fp16 " << bits);
  for (unsigned bits = 0; bits < 0x7f80; ++bits)
    if (pack_bf16x2(widened_bf16(bits), 0.f) != bits) FAIL("bf16 " << bits);
}
