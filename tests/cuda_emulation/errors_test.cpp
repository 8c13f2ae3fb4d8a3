// Kernels that are wrong, and what the emulation says about them.
#include "tests/cuda_emulation/test_support.hpp"

using namespace tenon;
using namespace tenon::cuda;
using namespace tenon::cuda::emulation;

namespace {

__global__ void returns_before_barrier() {
  if (threadIdx.x == 3) return;
  __syncthreads();
}
__global__ void two_barriers() {
  if (threadIdx.x < 32)
    __syncthreads();
  else
    __syncthreads();
}
__global__ void barrier_and_shuffle(int* out) {
  if (threadIdx.x == 5)
    __syncthreads();
  else
    out[threadIdx.x] = __shfl_sync(whole_warp, 1, 0);
}
__global__ void mask_without_caller(int* out) { out[threadIdx.x] = __shfl_sync(0xfffffffeu, 1, 1); }
__global__ void masks_disagree() { __syncwarp(threadIdx.x < 16 ? 0xffffffffu : 0xffff0001u); }
__global__ void sites_disagree(int* out) {
  if (threadIdx.x < 8)
    out[threadIdx.x] = __shfl_sync(whole_warp, 1, 0);
  else
    out[threadIdx.x] = __shfl_sync(whole_warp, 1, 0);
}
__global__ void words_disagree() {
  if (threadIdx.x < 8)
    __syncwarp();
  else
    __any_sync(whole_warp, 1);
}
__global__ void lane_has_returned(int* out) {
  if (threadIdx.x == 7) return;
  out[threadIdx.x] = __shfl_sync(whole_warp, 1, 0);
}
__global__ void full_mask(int* out) { out[threadIdx.x] = __shfl_sync(whole_warp, 1, 0); }
__global__ void width(int* out) { out[threadIdx.x] = __shfl_sync(whole_warp, 1, 0, 12); }
__global__ void source_outside_mask(int* out) {
  if (threadIdx.x < 16) out[threadIdx.x] = __shfl_sync(0x0000ffffu, 1, 20);
}
__global__ void nothing() {}

struct Large {
  Shared<float, 20'000> x;
};
__global__ void large(float* out) {
  auto& x = shared_storage<Large>().x;
  x[19'999] = 1.f;
  out[0] = x[19'999];
}
__global__ void index_behind() { shared_storage<Large>().x[20'000] = 1.f; }
__global__ void kernel_throws() {
  __syncthreads();
  if (threadIdx.x == 3) throw std::out_of_range("index 7");
}

struct Few {
  Shared<float, 32> x;
};
[[maybe_unused]] __global__ void write_behind_shared() { *shared_storage<Few>().x.at(32) = 1.f; }
__global__ void unwritten(float* out) { out[threadIdx.x] = shared_storage<Few>().x[threadIdx.x] + 1.f; }

std::string launch_error(dim3 grid, dim3 block, std::size_t shared = 0) {
  return error_of([&] { launch(Call{}, nothing, grid, block, shared); });
}

}  // namespace

TEST_CASE("barriers that not all threads reach", "[cuda][emulation][errors]") {
  under_all_schedules([] {
    CHECK(says(error_of([] { run(returns_before_barrier, 64, 0); }), "__syncthreads at "));
    CHECK(says(error_of([] { run(two_barriers, 64, 0); }), "barriers disagree: thread "));
    // Afterwards everything works.
    CHECK(error_of([] { run(nothing, 64, 0); }).empty());
  });
  CHECK(says(error_of([] { run(returns_before_barrier, 64, 0); }),
             "thread 3 returned while thread 0 waits for it in __syncthreads at "));
  set_schedule("reverse");
  CHECK(says(error_of([] { run(returns_before_barrier, 4, 0); }), "which thread 3 left out by returning"));
  set_schedule("forward");
}

TEST_CASE("a deadlock says who waits where", "[cuda][emulation][errors]") {
  under_all_schedules([] {
    std::vector<int> out(32);
    const std::string error = error_of([&] { run(barrier_and_shuffle, 32, 0, out.data()); });
    CHECK(says(error, "block (0,0,0): deadlock: threads 0-4, 6-31 wait in __shfl_sync at "));
    CHECK(says(error, "errors_test.cpp:"));
    CHECK(says(error, "with mask 0xffffffff; thread 5 waits in __syncthreads at "));
    CHECK(says(error, "[schedule " + schedule_text() + "]"));
  });
}

TEST_CASE("masks and places of words of the warp", "[cuda][emulation][errors]") {
  under_all_schedules([] {
    std::vector<int> out(64);
    CHECK(says(error_of([&] { run(mask_without_caller, 32, 0, out.data()); }),
               "with mask 0xfffffffe, which does not contain its lane 0"));
    CHECK(says(error_of([] { run(masks_disagree, 32, 0); }), "masks disagree: thread "));
    CHECK(says(error_of([&] { run(sites_disagree, 32, 0, out.data()); }), "words of the warp disagree: thread "));
    CHECK(says(error_of([] { run(words_disagree, 32, 0); }), "words of the warp disagree: thread "));
    CHECK(says(error_of([&] { run(lane_has_returned, 32, 0, out.data()); }), "returned"));
    CHECK(says(error_of([&] { run(full_mask, 40, 0, out.data()); }), "whose lane 8 is no thread of the block"));
    CHECK(says(error_of([&] { run(width, 32, 0, out.data()); }), "with width 12"));
    CHECK(says(error_of([&] { run(source_outside_mask, 32, 0, out.data()); }),
               "takes from lane 20, which the mask does not contain"));
  });
  std::vector<int> out(32);
  CHECK(says(error_of([&] { run(lane_has_returned, 32, 0, out.data()); }),
             "thread 7 returned while thread 0 waits for it in __shfl_sync at "));
}

TEST_CASE("launches out of range", "[cuda][emulation][errors]") {
  CHECK(launch_error(dim3(1), dim3(1024)).empty());
  CHECK(says(launch_error(dim3(1), dim3(1025)), "block 1025x1x1 is over 1024 threads"));
  CHECK(says(launch_error(dim3(1), dim3(8, 8, 17)), "block 8x8x17 is over 1024 threads"));
  CHECK(says(launch_error(dim3(1), dim3(1, 1, 65)), "block 1x1x65 is over"));
  CHECK(says(launch_error(dim3(1), dim3(0)), "block 0x1x1 has no threads"));
  CHECK(says(launch_error(dim3(0), dim3(32)), "grid 0x1x1 has no blocks"));
  CHECK(says(launch_error(dim3(0x80000000u), dim3(32)), "is over 2147483647x65535x65535"));
  CHECK(says(launch_error(dim3(1, 65536), dim3(32)), "grid 1x65536x1 is over"));
  CHECK(launch_error(dim3(1), dim3(32), 227 * 1024).empty());
  CHECK(says(launch_error(dim3(1), dim3(32), 227 * 1024 + 1), "232449 bytes of shared memory are over 232448"));
  CHECK(says(error_of([] { __syncthreads(); }), "__syncthreads outside a kernel"));
}

TEST_CASE("shared memory over 48 KiB has to be asked for", "[cuda][emulation][errors]") {
  float out = 0.f;
  const auto bare = [&] {  // as launch(), without asking
    start({reinterpret_cast<const void*>(&large), dim3(1), dim3(1), sizeof(Large), [&] { large(&out); }}, nullptr);
  };
  CHECK(says(error_of(bare), "80000 bytes of shared memory are over the kernel's limit of 49152"));
  run(large, 1, sizeof(Large), &out);
  CHECK(out == 1.f);
}

TEST_CASE("what lies outside shared memory", "[cuda][emulation][errors]") {
  float out = 0.f;
  CHECK(says(error_of([&] { run(large, 1, sizeof(Large) - 16, &out); }),
             "needs 80000 bytes of shared memory, the launch gave 79984"));
  CHECK(says(error_of([] { run(index_behind, 1, sizeof(Large)); }), "went to element 20000 of an array of 20000"));
#ifndef __SANITIZE_ADDRESS__  // which stops the program
  CHECK(says(error_of([] { run(write_behind_shared, 1, sizeof(Few)); }),
             "something was written behind the 128 bytes of shared memory"));
#endif
  std::vector<float> y(32);
  run(unwritten, 32, sizeof(Few), y.data());
  for (float v : y) CHECK(v != v);
}

TEST_CASE("a kernel's own exception reaches the host", "[cuda][emulation][errors]") {
  under_all_schedules([] {
    CHECK_THROWS_AS(run(kernel_throws, 64, 0), std::out_of_range);
    CHECK(error_of([] { run(nothing, 64, 0); }).empty());
  });
}
