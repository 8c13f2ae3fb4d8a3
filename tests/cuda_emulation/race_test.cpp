// Faults planted into kernels: what the check of races, the guards and the schedules must find.
#include "tests/cuda_emulation/test_support.hpp"

using namespace tenon;
using namespace tenon::cuda;
using namespace tenon::cuda::emulation;

namespace {

struct Row {
  Shared<int, 128> x;
};

/// Writes, then reads what a neighbour wrote; the barrier between them is what the tests leave out.
enum class Between { nothing, barrier, warp, part_of_warp, shuffle };
template <Between between>
__global__ void neighbours(int* out, int distance) {
  auto& x = shared_storage<Row>().x;
  const auto t = static_cast<int>(threadIdx.x);
  x[t] = t;
  if constexpr (between == Between::barrier) __syncthreads();
  if constexpr (between == Between::warp) __syncwarp();
  if constexpr (between == Between::part_of_warp) __syncwarp(t % 32 < 16 ? 0x0000ffffu : 0xffff0000u);
  if constexpr (between == Between::shuffle) __shfl_sync(whole_warp, t, 0);
  out[t] = x[t ^ distance];
}

/// A tree whose last barriers are missing, as they were allowed to be when warps ran in lockstep.
__global__ void lockstep(int* out) {
  auto& x = shared_storage<Row>().x;
  const auto t = static_cast<int>(threadIdx.x);
  x[t] = 1;
  __syncthreads();
  for (int k = 64; k > 0; k /= 2) {
    if (t < k) x[t] += x[t + k];
    if (k > 32) __syncthreads();
  }
  if (t == 0) out[0] = x[0];
}

/// The loop's second barrier is missing: a fast thread overwrites what a slow one still reads.
__global__ void overwrites(int* out) {
  auto& x = shared_storage<Row>().x;
  const auto t = static_cast<int>(threadIdx.x);
  for (int i = 0; i < 3; ++i) {
    x[t] = i;
    __syncthreads();
    out[t] = x[127 - t];
  }
}

__global__ void all_write_the_same() { shared_storage<Row>().x[0] = 1; }
__global__ void everybody_reads(int* out) {
  auto& x = shared_storage<Row>().x;
  if (threadIdx.x == 9) x[0] = 5;
  __syncthreads();
  out[threadIdx.x] = x[0];
  __syncthreads();
  if (threadIdx.x == 100) x[0] = 6;
}
__global__ void read_by_many_then_written(int* out) {
  auto& x = shared_storage<Row>().x;
  if (threadIdx.x == 0) x[0] = 5;
  __syncthreads();
  out[threadIdx.x] = x[0];
  if (threadIdx.x == 100) x[0] = 6;
}
__global__ void atomic_and_read(int* out) {
  auto& x = shared_storage<Row>().x;
  if (threadIdx.x == 0) x[0] = 0;
  __syncthreads();
  atomicAdd(&x[0], 1);
  if (threadIdx.x == 0) out[0] = x[0];
}

/// Knowledge is passed on: 0 and 1 meet, then 1 and 2, so that 2 may read what 0 wrote.
template <bool chain>
__global__ void passed_on(int* out) {
  auto& x = shared_storage<Row>().x;
  const auto t = static_cast<int>(threadIdx.x);
  if (t == 0) x[0] = 7;
  if (t < 2) __syncwarp(0x3u);
  if (t == 1 || t == 2) __syncwarp(chain ? 0x6u : 1u << t);
  if (t == 2) out[0] = x[0];
}

/// Nobody sees this race under all schedules by its result alone: the value is right if thread 0 goes first.
struct Once {
  int* at(std::int64_t) { return &value; }
  int value;
};
__global__ void unwatched(int* out) {
  int& value = shared_storage<Once>().value;
  if (threadIdx.x == 0) value = 3;
  out[threadIdx.x] = value;
}

template <Between between>
std::string neighbours_error(int distance) {
  std::vector<int> out(128);
  return error_of([&] { run(neighbours<between>, 128, sizeof(Row), out.data(), distance); });
}

}  // namespace

TEST_CASE("a missing barrier is a race", "[cuda][emulation][race]") {
  under_all_schedules([] {
    for (int distance : {1, 16, 64}) {
      CHECK(says(neighbours_error<Between::nothing>(distance), ": race at byte "));
      CHECK(neighbours_error<Between::barrier>(distance).empty());
      CHECK(neighbours_error<Between::warp>(distance).empty() == (distance < 32));
      CHECK(neighbours_error<Between::part_of_warp>(distance).empty() == (distance < 16));
      CHECK(says(neighbours_error<Between::shuffle>(distance), ": race at byte "));  // shuffles order no memory
    }
  });
  CHECK(says(neighbours_error<Between::nothing>(1),
             "race at byte 4 of shared memory (element 1 of its array): thread 0 read it at "));
  CHECK(says(neighbours_error<Between::nothing>(1), ", with no barrier and no __syncwarp between [schedule forward]"));
  CHECK(says(neighbours_error<Between::warp>(64), ", with no barrier between"));
}

TEST_CASE("races of loops, of equal values and of atomics", "[cuda][emulation][race]") {
  under_all_schedules([] {
    std::vector<int> out(128);
    CHECK(says(error_of([&] { run(lockstep, 128, sizeof(Row), out.data()); }), "race at byte "));
    CHECK(says(error_of([&] { run(overwrites, 128, sizeof(Row), out.data()); }), "race at byte "));
    CHECK(says(error_of([] { run(all_write_the_same, 128, sizeof(Row)); }), "race at byte 0 "));
    CHECK(says(error_of([&] { run(read_by_many_then_written, 128, sizeof(Row), out.data()); }), "race at byte 0 "));
    CHECK(says(error_of([&] { run(atomic_and_read, 128, sizeof(Row), out.data()); }), "race at byte 0 "));
    CHECK(error_of([&] { run(everybody_reads, 128, sizeof(Row), out.data()); }).empty());
    CHECK(out == std::vector<int>(128, 5));
  });
}

TEST_CASE("order within a warp passes from lane to lane", "[cuda][emulation][race]") {
  under_all_schedules([] {
    int out = 0;
    CHECK(error_of([&] { run(passed_on<true>, 32, sizeof(Row), &out); }).empty());
    CHECK(out == 7);
    CHECK(says(error_of([&] { run(passed_on<false>, 32, sizeof(Row), &out); }), "race at byte 0 "));
  });
}

TEST_CASE("schedules show races that nobody watches", "[cuda][emulation][race]") {
  int wrong = 0;
  under_all_schedules([&] {
    std::vector<int> out(64);
    run(unwatched, 64, sizeof(Once), out.data());
    wrong += out != std::vector<int>(64, 3);
  });
  CHECK(wrong >= 3);
}
