// The CUDA module's own side of the C interface, against the emulated runtime: what it says when something is missing or fails, and
// which calls it makes.
#include <algorithm>
#include <cstring>

#include "kernels/cuda/module.hpp"
#include "kernels/cuda/open_module.hpp"
#include "tenon/error.hpp"
#include "tests/cuda_emulation/emulation.hpp"
#include "tests/support/catch.hpp"

namespace tenon::cuda {
namespace {

using namespace emulation;

const Module& module() { return *tenon_cuda_module(); }

/// An open device, and nothing left of the tests before.
struct Opened {
  Opened() {
    reset();
    REQUIRE(module().open(0, &device, &info).code == Code::ok);
    clear_calls();
  }
  ~Opened() { module().close(device); }
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;
  Device* device = nullptr;
  DeviceInfo info;
};

bool called(std::string_view name) {
  const std::vector<std::string> list = calls();
  return std::ranges::any_of(list, [&](const std::string& c) { return c.starts_with(name); });
}

}  // namespace

TEST_CASE("the module says what is missing", "[cuda][module]") {
  std::int32_t count = -1;
  reset();
  CHECK(module().devices(&count).code == Code::ok);
  CHECK(count == 1);

  fail_next("cudaDriverGetVersion", cudaErrorUnknown);
  Answer a = module().devices(&count);
  CHECK(a.code == Code::no_driver);
  CHECK(std::string(a.text) == "no NVIDIA driver is installed");
  CHECK(count == 0);

  fail_next("cudaGetDeviceCount", cudaErrorInsufficientDriver);
  a = module().devices(&count);
  CHECK(a.code == Code::driver_too_old);
  CHECK(std::string(a.text).starts_with("expected a driver for CUDA"));

  fail_next("cudaGetDeviceCount", cudaErrorNoDevice);
  a = module().devices(&count);
  CHECK(a.code == Code::no_device);
  CHECK(std::string(a.text) == "the driver knows no device");

  fail_next("cudaGetDeviceCount", cudaErrorUnknown);
  CHECK(module().devices(&count).code == Code::failed);

  Device* device = nullptr;
  DeviceInfo info;
  a = module().open(3, &device, &info);
  CHECK(a.code == Code::no_device);
  CHECK(std::string(a.text) == "expected a device below 1, found number 3");
  fail_next("cudaStreamCreateWithFlags", cudaErrorMemoryAllocation);
  a = module().open(0, &device, &info);
  CHECK(a.code == Code::out_of_memory);
  CHECK(std::string(a.text).starts_with("opening the device: "));
}

TEST_CASE("the module describes its device", "[cuda][module]") {
  const Opened d;
  CHECK(std::string(d.info.name) == "emulated GPU");
  CHECK(d.info.major == 9);
  CHECK(d.info.memory > 0);
  CHECK(d.info.clock_khz > 0);
  CHECK(module().stream(d.device) != nullptr);
}

TEST_CASE("memory: what fails is told, what is taken is given back", "[cuda][module]") {
  const Opened d;
  const std::size_t before = device_bytes();
  void* memory = nullptr;
  REQUIRE(module().allocate(d.device, 4096, &memory).code == Code::ok);
  CHECK(device_bytes() == before + 4096);
  const float sent[2] = {1.f, 2.f};
  float came[2] = {};
  CHECK(module().upload(d.device, memory, sent, sizeof sent).code == Code::ok);
  CHECK(module().download(d.device, came, memory, sizeof came).code == Code::ok);
  CHECK(module().synchronize(d.device).code == Code::ok);
  CHECK(std::memcmp(sent, came, sizeof sent) == 0);
  CHECK(module().clear(d.device, memory, sizeof sent).code == Code::ok);
  CHECK(module().download(d.device, came, memory, sizeof came).code == Code::ok);
  CHECK(module().synchronize(d.device).code == Code::ok);
  CHECK(came[1] == 0.f);
  module().release(d.device, memory);
  CHECK(device_bytes() == before);

  fail_next("cudaMalloc", cudaErrorMemoryAllocation);
  Answer a = module().allocate(d.device, 123456, &memory);
  CHECK(a.code == Code::out_of_memory);
  CHECK(std::string(a.text).starts_with("allocating 123456 bytes on the device: "));
  fail_next("cudaMemcpyAsync", cudaErrorInvalidValue);
  a = module().upload(d.device, memory, sent, sizeof sent);
  CHECK(a.code == Code::failed);
  CHECK(std::string(a.text).starts_with("copying to the device: "));
  fail_next("cudaStreamSynchronize", cudaErrorIllegalAddress);
  a = module().synchronize(d.device);
  CHECK(a.code == Code::failed);
  CHECK(std::string(a.text).starts_with("running kernels: "));
}

TEST_CASE("a capture is recorded, instantiated and replayed, in this order", "[cuda][module]") {
  const Opened d;
  void *memory = nullptr, *pinned = nullptr;
  REQUIRE(module().allocate(d.device, 256, &memory).code == Code::ok);
  REQUIRE(module().allocate_pinned(d.device, 256, &pinned).code == Code::ok);
  std::memset(pinned, 5, 256);
  clear_calls();
  Graph* graph = nullptr;
  REQUIRE(module().begin_capture(d.device).code == Code::ok);
  REQUIRE(module().upload(d.device, memory, pinned, 256).code == Code::ok);
  REQUIRE(module().end_capture(d.device, &graph).code == Code::ok);
  std::memset(pinned, 7, 256);  // what was recorded reads at replay
  REQUIRE(module().replay(d.device, graph).code == Code::ok);
  REQUIRE(module().synchronize(d.device).code == Code::ok);
  unsigned char came = 0;
  REQUIRE(module().download(d.device, &came, memory, 1).code == Code::ok);
  REQUIRE(module().synchronize(d.device).code == Code::ok);
  CHECK(came == 7);
  module().release_graph(d.device, graph);
  std::vector<std::string> order;
  for (const std::string& c : calls())
    for (const char* name : {"cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate",
                             "cudaGraphLaunch", "cudaGraphExecDestroy"})
      if (c.starts_with(name)) order.emplace_back(name);
  CHECK(order == std::vector<std::string>{"cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate",
                                          "cudaGraphLaunch", "cudaGraphExecDestroy"});
  CHECK(called("cudaGraphDestroy"));

  REQUIRE(module().begin_capture(d.device).code == Code::ok);
  fail_next("cudaGraphInstantiate", cudaErrorMemoryAllocation);
  const Answer a = module().end_capture(d.device, &graph);
  CHECK(a.code == Code::out_of_memory);
  CHECK(std::string(a.text).starts_with("instantiating a graph: "));
  module().release(d.device, memory);
  module().release_pinned(d.device, pinned);
}

TEST_CASE("pieces of a recording wait for those that are named", "[cuda][module]") {
  Opened d;
  void *memory = nullptr, *pinned = nullptr;
  REQUIRE(module().allocate(d.device, 4, &memory).code == Code::ok);
  REQUIRE(module().allocate_pinned(d.device, 4, &pinned).code == Code::ok);
  auto* host = static_cast<unsigned char*>(pinned);
  auto* device = static_cast<unsigned char*>(memory);
  std::memset(pinned, 9, 4);
  clear_calls();
  const auto piece = [&](std::vector<std::int32_t> after) {
    return module().begin_piece(d.device, after.data(), static_cast<std::int32_t>(after.size())).code;
  };
  CHECK(piece({}) == Code::failed);  // nothing is recorded
  REQUIRE(module().begin_capture(d.device).code == Code::ok);
  REQUIRE(module().upload(d.device, memory, pinned, 4).code == Code::ok);  // what all wait for
  CHECK(piece({}) == Code::ok);
  REQUIRE(module().clear(d.device, device, 1).code == Code::ok);
  REQUIRE(module().clear(d.device, device + 1, 1).code == Code::ok);
  CHECK(piece({}) == Code::ok);
  REQUIRE(module().clear(d.device, device + 2, 1).code == Code::ok);
  CHECK(piece({0, 1, 0}) == Code::ok);  // one of them twice
  REQUIRE(module().download(d.device, host, memory, 3).code == Code::ok);
  CHECK(piece({1}) == Code::ok);
  CHECK(piece({2, 3}) == Code::ok);  // of 3, in which nothing was recorded, what it waited for
  REQUIRE(module().download(d.device, host + 3, device + 3, 1).code == Code::ok);
  CHECK(piece({7}) == Code::failed);
  std::vector<std::string> waits;
  for (const std::string& c : calls())
    if (c.starts_with("cudaStreamUpdateCaptureDependencies")) waits.push_back(c.substr(c.find('(')));
  CHECK(waits == std::vector<std::string>{"(1)", "(1)", "(2)", "(1)", "(2)"});
  Graph* graph = nullptr;
  REQUIRE(module().end_capture(d.device, &graph).code == Code::ok);
  for (const auto& [schedule, seed] : {std::pair(Schedule::forward, 0), std::pair(Schedule::reverse, 0),
                                       std::pair(Schedule::random, 1), std::pair(Schedule::random, 2)}) {
    set_schedule(schedule, static_cast<std::uint64_t>(seed));
    std::memset(pinned, 9, 4);
    REQUIRE(module().replay(d.device, graph).code == Code::ok);
    REQUIRE(module().synchronize(d.device).code == Code::ok);
    CHECK(std::vector<int>(host, host + 4) == std::vector<int>{0, 0, 0, 9});
  }
  set_schedule(Schedule::forward);
  module().release_graph(d.device, graph);
  module().release(d.device, memory);
  module().release_pinned(d.device, pinned);
}

TEST_CASE("a module of another build is refused", "[cuda][module]") {
  Module other = module();
  CHECK_NOTHROW(check_module(&other, "here"));
  CHECK_THROWS_WITH(check_module(nullptr, "here"), Catch::Contains("[cuda] here is no module of Tenon"));
  other.abi = module_abi + 1;
  CHECK_THROWS_AS(check_module(&other, "here"), DeviceError);
  other = module();
  other.layout ^= 1;
  CHECK_THROWS_WITH(check_module(&other, "here"), Catch::Contains("[cuda] here was built with another Tenon"));
  other = module();
  other.version = "0.0.1";
  CHECK_THROWS_WITH(check_module(&other, "here"), Catch::Contains("found 0.0.1"));
}

}  // namespace tenon::cuda
