// Kernels that are right: barriers, shuffles, votes, atomics and shared memory do what CUDA says, under every schedule.
#include <atomic>
#include <numeric>
#include <thread>

#include "tests/cuda_emulation/test_support.hpp"

using namespace tenon;
using namespace tenon::cuda;
using namespace tenon::cuda::emulation;

namespace {

struct Sums {
  Shared<float, 256> part;
};

/// Grid-stride loop, tree in shared memory, tree in a warp.
__global__ void __launch_bounds__(256) sum(const float* x, float* y, std::int64_t n) {
  auto& part = shared_storage<Sums>().part;
  const auto t = static_cast<int>(threadIdx.x);
  float v = 0.f;
  for_each_index(n, [&](std::int64_t i) { v += x[i]; });
  part[t] = v;
  __syncthreads();
  for (int k = 128; k >= 32; k /= 2) {
    if (t < k) part[t] += part[t + k];
    __syncthreads();
  }
  if (t >= 32) return;
  float w = part[t];
  for (unsigned k = 16; k > 0; k /= 2) w = __fadd_rn(w, __shfl_down_sync(whole_warp, w, k));
  if (t == 0) y[blockIdx.x] = w;
}

__global__ void positions(unsigned* out) {
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  ++out[block * blockDim.x * blockDim.y * blockDim.z + thread];
}

struct Lanes {
  int index, up, down, exclusive, broadcast;
};
__global__ void shuffles(Lanes* out, int width) {
  const auto t = static_cast<int>(threadIdx.x);
  Lanes& l = out[t];
  l.index = __shfl_sync(whole_warp, t, t + 3, width);
  l.up = __shfl_up_sync(whole_warp, t, 3, width);
  l.down = __shfl_down_sync(whole_warp, t, 3, width);
  l.exclusive = __shfl_xor_sync(whole_warp, t, 5, width);
  l.broadcast = __shfl_sync(whole_warp, t, 0, width);
}

__global__ void halves_of_warps(int* out) {
  const auto t = static_cast<int>(threadIdx.x);
  const unsigned mask = t % 32 < 16 ? 0x0000ffffu : 0xffff0000u;
  int v = t;
  for (int k = 8; k > 0; k /= 2) v += __shfl_xor_sync(mask, v, k);
  __syncwarp(mask);
  out[t] = v;
}

__global__ void types(double* d, long long* l, unsigned* u) {
  const unsigned t = threadIdx.x;
  d[t] = __shfl_xor_sync(whole_warp, t * 0.5, 1);
  l[t] = __shfl_xor_sync(whole_warp, (1ll << 40) + t, 1);
  u[t] = __shfl_xor_sync(whole_warp, 0xf0000000u + t, 1);
}

__global__ void votes(unsigned* out) {
  const unsigned t = threadIdx.x;
  out[4 * t] = __ballot_sync(whole_warp, t % 3 == 0);
  out[4 * t + 1] = static_cast<unsigned>(__any_sync(whole_warp, t == 40) * 2 + __all_sync(whole_warp, t < 40));
  out[4 * t + 2] = static_cast<unsigned>(__syncthreads_or(t == 40) * 2 + __syncthreads_and(t < 40));
  out[4 * t + 3] = static_cast<unsigned>(__syncthreads_count(t % 5 == 0));
}

struct Counters {
  Shared<int, 4> counts;
  Shared<float, 1> total;
};
__global__ void atomics(int* out, float* total) {
  auto& s = shared_storage<Counters>();
  const auto t = static_cast<int>(threadIdx.x);
  if (t < 4) s.counts[t] = 0;
  if (t == 0) s.total[0] = 0.f;
  __syncthreads();
  atomicAdd(&s.counts[t % 3], t);
  atomicMax(&s.counts[3], t * 7 % 64);
  atomicAdd(s.total.at(0), 0.5f);
  __syncthreads();
  if (t < 4) atomicAdd(&out[t], static_cast<int>(s.counts[t]));
  if (t == 0) atomicAdd(total, static_cast<float>(s.total[0]));
}

__global__ void words(unsigned* out) {
  unsigned a = 12;
  int i = -5;
  out[0] = atomicOr(&a, 3u), out[1] = atomicAnd(&a, 6u), out[2] = atomicExch(&a, 9u), out[3] = atomicCAS(&a, 9u, 1u);
  out[4] = atomicCAS(&a, 9u, 2u), out[5] = a;
  atomicMin(&i, -7);
  out[6] = static_cast<unsigned>(i);
  out[7] = static_cast<unsigned>(__popc(0xff0u) * 10000 + __ffs(0x10) * 100 + __clz(0xff));
  out[8] = __umulhi(0x80000000u, 6u);
  out[9] = __float_as_uint(__fmaf_rn(1.f + 0x1p-12f, 1.f + 0x1p-12f, -1.f));
}

/// Threads that return early are no trouble where nobody waits for them.
__global__ void early(int* out) {
  if (threadIdx.x % 2 == 1) return;
  out[threadIdx.x] = 1;
}

struct Bytes {
  Shared<std::uint8_t, 64> bytes;
  Shared<std::uint16_t, 64> halves;
};
__global__ void small_elements(int* out) {
  auto& s = shared_storage<Bytes>();
  const unsigned t = threadIdx.x;
  s.bytes[t] = static_cast<std::uint8_t>(t);
  s.halves[t] = static_cast<std::uint16_t>(t * 100);
  __syncthreads();
  out[t] = s.bytes[63 - t] + s.halves[63 - t];
}

}  // namespace

TEST_CASE("a reduction has the same bits under all schedules", "[cuda][emulation]") {
  std::vector<float> x(10'000);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = 1.f / static_cast<float>(i + 1);
  std::vector<float> expected;
  under_all_schedules([&] {
    std::vector<float> y(5);
    launch(Call{}, sum, dim3(5), dim3(256), sizeof(Sums), x.data(), y.data(), 10'000);
    if (expected.empty()) expected = y;
    CHECK(y == expected);
  });
  CHECK(std::accumulate(expected.begin(), expected.end(), 0.0) == Approx(9.787606));
}

TEST_CASE("every thread of every block runs once", "[cuda][emulation]") {
  under_all_schedules([] {
    std::vector<unsigned> out(3 * 2 * 5 * 8 * 3 * 2);
    launch(Call{}, positions, dim3(3, 2, 5), dim3(8, 3, 2), 0, out.data());
    CHECK(out == std::vector<unsigned>(out.size(), 1));
  });
}

TEST_CASE("shuffles keep to their width", "[cuda][emulation]") {
  under_all_schedules([] {
    for (int width : {2, 8, 32}) {
      std::vector<Lanes> out(64);
      run(shuffles, 64, 0, out.data(), width);
      bool right = true;
      for (int t = 0; t < 64; ++t) {
        const int first = t / width * width, last = first + width - 1;
        const Lanes& l = out[static_cast<std::size_t>(t)];
        right = right && l.index == first + (t + 3) % width && l.up == (t - 3 >= first ? t - 3 : t);
        right = right && l.down == (t + 3 <= last ? t + 3 : t) && l.exclusive == ((t ^ 5) <= last ? t ^ 5 : t);
        right = right && l.broadcast == first;
      }
      CHECK(right);
    }
  });
}

TEST_CASE("shuffles of parts of warps, and of all types", "[cuda][emulation]") {
  under_all_schedules([] {
    std::vector<int> out(64);
    run(halves_of_warps, 64, 0, out.data());
    for (int t = 0; t < 64; ++t) CHECK(out[static_cast<std::size_t>(t)] == t / 16 * 16 * 16 + 120);
    std::vector<double> d(32);
    std::vector<long long> l(32);
    std::vector<unsigned> u(32);
    run(types, 32, 0, d.data(), l.data(), u.data());
    CHECK((d[6] == 3.5 && l[6] == (1ll << 40) + 7 && u[6] == 0xf0000007u));
  });
}

TEST_CASE("votes of warps and of blocks", "[cuda][emulation]") {
  under_all_schedules([] {
    std::vector<unsigned> out(64 * 4);
    run(votes, 64, 0, out.data());
    CHECK(out[0] == 0x49249249u);
    CHECK(out[4 * 63] == 0x92492492u);
    CHECK((out[1] == 1 && out[4 * 40 + 1] == 2));
    CHECK((out[2] == 2 && out[3] == 13));
  });
}

TEST_CASE("atomics of shared and global memory", "[cuda][emulation]") {
  under_all_schedules([] {
    std::vector<int> out(4);
    float total = 0.f;
    launch(Call{}, atomics, dim3(3), dim3(64), sizeof(Counters), out.data(), &total);
    CHECK(out == std::vector<int>{693 * 3, 651 * 3, 672 * 3, 63 * 3});
    CHECK(total == 96.f);
  });
  std::vector<unsigned> out(10);
  run(words, 1, 0, out.data());
  CHECK(out == std::vector<unsigned>{12, 15, 6, 9, 1, 1, 0xfffffff9u, 80524, 3, 0x3a000400u});
}

TEST_CASE("early returns and small elements", "[cuda][emulation]") {
  under_all_schedules([] {
    std::vector<int> out(64);
    run(early, 64, 0, out.data());
    CHECK(std::accumulate(out.begin(), out.end(), 0) == 32);
    run(small_elements, 64, sizeof(Bytes), out.data());
    CHECK((out[0] == 63 * 101 && out[63] == 0));
  });
}

TEST_CASE("OS threads run kernels side by side", "[cuda][emulation]") {
  const std::vector<float> x(10'000, 1.f);
  std::atomic<int> right{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int k = 0; k < 20; ++k) {
        std::vector<float> y(4);
        launch(Call{}, sum, dim3(4), dim3(256), sizeof(Sums), x.data(), y.data(), 10'000);
        right += y == std::vector<float>{2560, 2560, 2560, 2320};
      }
    });
  for (auto& t : threads) t.join();
  CHECK(right == 80);
}

TEST_CASE("schedules have names", "[cuda][emulation]") {
  set_schedule("random:17");
  CHECK(schedule_text() == "random:17");
  for (const char* name : {"random", "random:x", "backward", "random:"})
    CHECK(says(error_of([&] { set_schedule(name); }), "expected forward, reverse, interleaved or random:SEED"));
  CHECK(schedule_text() == "random:17");
  set_schedule(Schedule::forward);
}
