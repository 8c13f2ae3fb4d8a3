// What the GPU's own costs and ceilings are, beside what was predicted of an H100 or H200 before there was one to measure: a node of
// a graph, a barrier of the grid or of a cluster, the L2 cache, the instructions of the tensor cores, a graph of a whole epoch.
// One JSON object a line. `verdict`: hit, near, or miss where a value is outside the prediction by more than a factor of two.
// Times are medians of several runs on one stream; no library is needed. Exit status: 0 measured, 8 there is no GPU.
#include <cooperative_groups.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <vector>

namespace {

namespace cg = cooperative_groups;
using Clock = std::chrono::steady_clock;

struct Failure {
  const char* doing;
  cudaError_t error;
};
void check(cudaError_t error, const char* doing) {
  if (error != cudaSuccess) throw Failure{doing, error};
}

// --- kernels -------------------------------------------------------------------------------------------------------------

__global__ void touch(float* p) {
  if (threadIdx.x == 0) p[blockIdx.x] += 1.f;
}

/// The same with programmatic dependent launch: begins while the one before ends.
__global__ void touch_early(float* p) {
  cudaGridDependencySynchronize();
  if (threadIdx.x == 0) p[blockIdx.x] += 1.f;
  cudaTriggerProgrammaticLaunchCompletion();
}

__global__ void grid_barriers(int count) {
  for (int i = 0; i < count; ++i) cg::this_grid().sync();
}

__global__ void cluster_barriers(int count) {
  for (int i = 0; i < count; ++i) {
    asm volatile("barrier.cluster.arrive.aligned;" ::: "memory");
    asm volatile("barrier.cluster.wait.aligned;" ::: "memory");
  }
}

/// Reads and writes every element once.
__global__ void add_one(float4* data, std::size_t n) {
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < n;
       i += std::size_t{gridDim.x} * blockDim.x) {
    float4 v = data[i];
    v.x += 1.f;
    v.y += 1.f;
    v.z += 1.f;
    v.w += 1.f;
    data[i] = v;
  }
}

enum class Words { f16, bf16, tf32 };

template <Words words>
__device__ void multiply(float d[4], const unsigned a[4], const unsigned b[2]) {
  if constexpr (words == Words::f16)
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  else if constexpr (words == Words::bf16)
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  else
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

constexpr int chains = 8;  // products under way in a warp

/// Operands that differ from lane to lane: zeros would run faster than anything real.
template <Words words>
__global__ void __launch_bounds__(256) products(int rounds, float* out) {
  unsigned a[4], b[2];
  const unsigned seed = blockIdx.x * 256 + threadIdx.x;
  // 0x3c.. is about 1 in fp16; 0x3f80.... about 1 in tf32 and, in its upper half, in bf16.
  for (int i = 0; i < 4; ++i)
    a[i] = (words == Words::f16 ? 0x3c003c00u : 0x3f803f80u) ^ (seed * (2654435761u + 2 * i) & 0x007f007fu);
  for (int i = 0; i < 2; ++i)
    b[i] = (words == Words::f16 ? 0xbc003c00u : 0xbf803f80u) ^ (seed * (40503u + 2 * i) & 0x007f007fu);
  float d[chains][4] = {};
  for (int r = 0; r < rounds; ++r)
#pragma unroll
    for (int c = 0; c < chains; ++c) multiply<words>(d[c], a, b);
  float sum = 0;
  for (int c = 0; c < chains; ++c)
    for (int i = 0; i < 4; ++i) sum += d[c][i];
  out[seed] = sum;
}

__global__ void __launch_bounds__(256) fmas(int rounds, float* out) {
  const float x = 1.f + 1e-6f * threadIdx.x;
  float d[16];
  for (int c = 0; c < 16; ++c) d[c] = static_cast<float>(c);
  for (int r = 0; r < rounds; ++r)
#pragma unroll
    for (int c = 0; c < 16; ++c) d[c] = __fmaf_rn(d[c], x, 1e-3f);
  float sum = 0;
  for (float v : d) sum += v;
  out[blockIdx.x * 256 + threadIdx.x] = sum;
}

// --- measuring -----------------------------------------------------------------------------------------------------------

struct Gpu {
  cudaStream_t stream = nullptr;
  cudaEvent_t begin = nullptr, end = nullptr;
  int multiprocessors = 0;
  float* scratch = nullptr;  // 4 MiB

  Gpu() {
    int count = 0;
    check(cudaGetDeviceCount(&count), "counting devices");
    cudaDeviceProp p{};
    check(cudaGetDeviceProperties(&p, 0), "reading properties");
    multiprocessors = p.multiProcessorCount;
    std::printf(
        "{\"name\": \"device\", \"gpu\": \"%s\", \"capability\": \"%d.%d\", \"multiprocessors\": %d, \"l2_bytes\": "
        "%d}\n",
        p.name, p.major, p.minor, p.multiProcessorCount, p.l2CacheSize);
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream");
    check(cudaEventCreate(&begin), "making an event");
    check(cudaEventCreate(&end), "making an event");
    check(cudaMalloc(&scratch, 4 << 20), "allocating");
    check(cudaMemset(scratch, 0, 4 << 20), "clearing");
  }

  /// Median seconds of work on the stream, of seven runs behind one that does not count.
  double seconds(const std::function<void()>& work) {
    std::vector<double> all;
    for (int i = 0; i < 8; ++i) {
      check(cudaEventRecord(begin, stream), "recording an event");
      work();
      check(cudaGetLastError(), "starting a kernel");
      check(cudaEventRecord(end, stream), "recording an event");
      check(cudaEventSynchronize(end), "running");
      float ms = 0;
      check(cudaEventElapsedTime(&ms, begin, end), "reading events");
      if (i > 0) all.push_back(1e-3 * ms);
    }
    std::nth_element(all.begin(), all.begin() + 3, all.end());
    return all[3];
  }

  cudaGraph_t captured(const std::function<void()>& work) {
    cudaGraph_t graph = nullptr;
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "beginning to record");
    work();
    check(cudaStreamEndCapture(stream, &graph), "recording");
    return graph;
  }
  cudaGraphExec_t instantiated(const std::function<void()>& work) {
    cudaGraph_t graph = captured(work);
    cudaGraphExec_t exec = nullptr;
    check(cudaGraphInstantiate(&exec, graph, 0), "instantiating a graph");
    check(cudaGraphDestroy(graph), "destroying a graph");
    return exec;
  }
  double seconds_recorded(const std::function<void()>& work) {
    const cudaGraphExec_t exec = instantiated(work);
    const double s = seconds([&] { check(cudaGraphLaunch(exec, stream), "launching a graph"); });
    check(cudaGraphExecDestroy(exec), "destroying a graph");
    return s;
  }
};

/// `low` and `high` are the prediction.
void report(const char* name, double value, const char* unit, double low, double high) {
  const char* verdict = value >= low && value <= high ? "hit" : value < low / 2 || value > 2 * high ? "miss" : "near";
  std::printf(
      "{\"name\": \"%s\", \"value\": %.4g, \"unit\": \"%s\", \"low\": %.4g, \"high\": %.4g, \"verdict\": \"%s\"}\n",
      name, value, unit, low, high, verdict);
}

template <class... Parameters, class... Arguments>
void launch(const Gpu& g, void (*kernel)(Parameters...), int blocks, int threads, cudaLaunchAttribute attribute,
            Arguments... arguments) {
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(blocks);
  config.blockDim = dim3(threads);
  config.stream = g.stream;
  config.attrs = &attribute;
  config.numAttrs = 1;
  check(cudaLaunchKernelEx(&config, kernel, arguments...), "starting a kernel");
}

void launches(Gpu& g) {
  constexpr int count = 1000;
  const auto chain = [&] {
    for (int i = 0; i < count; ++i) touch<<<g.multiprocessors, 128, 0, g.stream>>>(g.scratch);
  };
  report("stream_launch", 1e6 * g.seconds(chain) / count, "us", 2.0, 3.0);
  report("graph_node", 1e6 * g.seconds_recorded(chain) / count, "us", 1.2, 1.4);
}

void dependent_launch(Gpu& g) {
  constexpr int count = 1000;
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  const double s = g.seconds_recorded([&] {
    for (int i = 0; i < count; ++i) launch(g, touch_early, g.multiprocessors, 128, early, g.scratch);
  });
  report("programmatic_edge", 1e6 * s / count, "us", 0.6, 0.9);
}

void grid_barrier(Gpu& g) {
  constexpr int count = 2000;
  cudaLaunchAttribute cooperative{};
  cooperative.id = cudaLaunchAttributeCooperative;
  cooperative.val.cooperative = 1;
  const auto of = [&](int n) {
    return g.seconds([&] { launch(g, grid_barriers, g.multiprocessors, 256, cooperative, n); });
  };
  report("grid_barrier", 1e6 * (of(count) - of(0)) / count, "us", 1.1, 1.3);
}

void cluster_barrier(Gpu& g) {
  constexpr int count = 2000, size = 16;
  check(cudaFuncSetAttribute(cluster_barriers, cudaFuncAttributeNonPortableClusterSizeAllowed, 1),
        "allowing clusters of 16");
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {size, 1, 1};
  const auto of = [&](int n) { return g.seconds([&] { launch(g, cluster_barriers, size, 256, cluster, n); }); };
  report("cluster_16_barrier", 1e6 * (of(count) - of(0)) / count, "us", 0.2, 0.4);
}

void caches(Gpu& g) {
  constexpr std::size_t mega = std::size_t{1} << 20, most = 512 * mega;
  float4* data = nullptr;
  check(cudaMalloc(&data, most), "allocating");
  check(cudaMemset(data, 0, most), "clearing");
  double best = 0, knee = 0, at_32 = 0, memory = 0;
  for (const std::size_t mb : {8, 16, 24, 32, 36, 40, 44, 48, 56, 64, 96, 128, 256, 512}) {
    const std::size_t n = mb * mega / sizeof(float4);
    constexpr int sweeps = 20;
    const double s = g.seconds_recorded([&] {
      for (int i = 0; i < sweeps; ++i) add_one<<<g.multiprocessors * 8, 256, 0, g.stream>>>(data, n);
    });
    const double rate = 2. * static_cast<double>(mb * mega) * sweeps / s * 1e-12;
    std::printf("{\"name\": \"sweep_%zu_MiB\", \"value\": %.3g, \"unit\": \"TB/s\"}\n", mb, rate);
    best = std::max(best, rate);
    if (mb == 32) at_32 = rate;
    if (rate > 0.8 * best && mb <= 128) knee = static_cast<double>(mb);
    memory = rate;
  }
  check(cudaFree(data), "releasing");
  report("l2_read_write", at_32, "TB/s", 5, 6);
  report("l2_knee", knee, "MiB", 36, 48);
  report("memory_read_write", memory, "TB/s", 2.8, 4.4);
}

template <class Kernel>
void ceiling(Gpu& g, const char* name, Kernel kernel, double flops_of_a_round, double low, double high) {
  constexpr int rounds = 4096, threads = 256;
  const int blocks = g.multiprocessors * 4;
  const double s = g.seconds([&] { kernel<<<blocks, threads, 0, g.stream>>>(rounds, g.scratch); });
  report(name, flops_of_a_round * rounds * blocks * threads / s * 1e-12, "TFLOP/s", low, high);
}

void ceilings(Gpu& g) {
  constexpr double lanes = 32, m16n8k16 = 2. * 16 * 8 * 16 / lanes, m16n8k8 = 2. * 16 * 8 * 8 / lanes;
  ceiling(g, "mma_fp16", products<Words::f16>, chains * m16n8k16, 560, 620);
  ceiling(g, "mma_bf16", products<Words::bf16>, chains * m16n8k16, 560, 620);
  ceiling(g, "mma_tf32", products<Words::tf32>, chains * m16n8k8, 280, 310);
  ceiling(g, "fma_fp32", fmas, 16 * 2., 50, 67);
}

double milliseconds(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

void epoch_graph(Gpu& g) {
  constexpr int nodes = 3000;
  cudaGraph_t graph = g.captured([&] {
    for (int i = 0; i < nodes; ++i) touch<<<g.multiprocessors, 128, 0, g.stream>>>(g.scratch);
  });
  auto begin = Clock::now();
  cudaGraphExec_t exec = nullptr;
  check(cudaGraphInstantiate(&exec, graph, 0), "instantiating a graph");
  report("epoch_graph_instantiate", milliseconds(begin), "ms", 0, 60);
  check(cudaGraphLaunch(exec, g.stream), "launching a graph");
  check(cudaStreamSynchronize(g.stream), "running");
  std::vector<double> all;
  for (int i = 0; i < 5; ++i) {
    begin = Clock::now();
    check(cudaGraphLaunch(exec, g.stream), "launching a graph");
    all.push_back(1e3 * milliseconds(begin));
    check(cudaStreamSynchronize(g.stream), "running");
  }
  std::sort(all.begin(), all.end());
  report("epoch_graph_launch", all[2], "us", 0, 100);
  check(cudaGraphExecDestroy(exec), "destroying a graph");
  check(cudaGraphDestroy(graph), "destroying a graph");
}

}  // namespace

int main() {
  try {
    Gpu gpu;
    const struct {
      const char* name;
      void (*run)(Gpu&);
    } probes[] = {{"launches", launches},
                  {"programmatic_edge", dependent_launch},
                  {"grid_barrier", grid_barrier},
                  {"cluster_16_barrier", cluster_barrier},
                  {"caches", caches},
                  {"ceilings", ceilings},
                  {"epoch_graph", epoch_graph}};
    for (const auto& [name, run] : probes) {
      try {
        run(gpu);
      } catch (const Failure& f) {
        (void)cudaGetLastError();
        std::printf("{\"name\": \"%s\", \"refused\": \"%s: %s\"}\n", name, f.doing, cudaGetErrorString(f.error));
      }
      std::fflush(stdout);
    }
  } catch (const Failure& f) {
    std::fprintf(stderr, "cuda_probe: %s: %s\n", f.doing, cudaGetErrorString(f.error));
    return 8;
  }
  return 0;
}
