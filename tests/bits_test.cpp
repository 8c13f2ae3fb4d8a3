// Same seed, same bits: threads, instruction sets, fusing and providers. And what a step may not do: allocate.
#include <atomic>
#include <cstdlib>

#include "tenon/backend.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/models.hpp"

using namespace tenon;
using namespace tenon::test;

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define TENON_COUNT_ALLOCATIONS
// Counts every allocation of the process, operator new's and others', by standing before the C library's malloc.
namespace {
std::atomic<long> allocations{0};
}
extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
void* malloc(std::size_t size) {
  ++allocations;
  return __libc_malloc(size);
}
void* calloc(std::size_t n, std::size_t size) {
  ++allocations;
  return __libc_calloc(n, size);
}
void* realloc(void* p, std::size_t size) {
  ++allocations;
  return __libc_realloc(p, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) {
  ++allocations;
  return __libc_memalign(alignment, size);
}
}
#endif

namespace {

bool has(const std::string& provider) {
  for (const Kernel& k : backend("cpu").kernels())
    if (k.provider == provider) return true;
  return false;
}

}  // namespace

TEST_CASE("weights after 50 steps do not depend on the number of threads", "[bits]") {
  for (const bool convolutional : {false, true}) {
    const int steps = convolutional ? 50 : 50;
    const std::int64_t batch = convolutional ? 24 : 64;
    const Outcome one = train(convolutional, steps, batch, {.threads = 1});
    for (const int threads : {2, 3, 4}) {
      INFO((convolutional ? "cnn, " : "mlp, ") << threads << " threads");
      CHECK(train(convolutional, steps, batch, {.threads = threads}).hash == one.hash);
    }
  }
}

TEST_CASE("weights after 50 steps do not depend on the instruction set", "[bits]") {
  if (!has("cpu.avx512") || !has("cpu.avx2")) {
    WARN("skipped: this machine has not both AVX2 and AVX-512");
    return;
  }
  for (const bool convolutional : {false, true}) {
    const std::int64_t batch = convolutional ? 24 : 64;
    CHECK(train(convolutional, 50, batch, {.providers = "cpu.avx2"}).hash ==
          train(convolutional, 50, batch, {.providers = "cpu.avx512"}).hash);
  }
}

TEST_CASE("weights after a few steps are those of every processor", "[bits][recorded]") {
  if (!backend("cpu").canonical()) {
    WARN("skipped: no instruction set with FMA here");
    return;
  }
  // Recorded on AVX2. They change with the canonical order, the generators or the models, and with nothing else.
  const Outcome convolutional = train(true, 2, 11, {}), perceptron = train(false, 5, 40, {});
  CHECK(convolutional.hash == 0x58cb05ed231eca89);
  CHECK(convolutional.loss == 0x1.211348p+1);
  CHECK(perceptron.hash == 0x7b3ccc7aff18be63);
  CHECK(perceptron.loss == 0x1.211cd4p+1);
}

TEST_CASE("tf32 has bits of its own, the same for every number of threads", "[bits]") {
  const Outcome one = train(true, 20, 24, {.precision = "tf32", .threads = 1});
  CHECK(one.hash != train(true, 20, 24, {.threads = 1}).hash);
  for (const int threads : {1, 2, 3, 4}) {
    INFO(threads << " threads");
    CHECK(train(true, 20, 24, {.precision = "tf32", .threads = threads}).hash == one.hash);
  }
  CHECK_THROWS_WITH(train(true, 1, 24, {.precision = "tf16"}),
                    Catch::Contains("[precision] expected fp32, tf32, bf16 or fp16, found 'tf16'"));
}

TEST_CASE("bf16 says what runs where no row computes it", "[bits]") {
  CompileOptions o = image_options(false);
  o.run.precision = "bf16";
  const std::string banner = compile(mlp(), o).banner();
  o.run.providers = "cpu.eigen";
  CHECK(compile(mlp(), o).banner().ends_with("; bf16 (no such kernels in cpu.eigen: fp32 rows)"));
  if (has("cpu.amx")) {
    CHECK(banner.ends_with("; bf16"));
    return;
  }
  CHECK(banner.ends_with("; bf16 (no such kernels on this processor: tf32 and fp32 rows)"));
  CHECK(train(true, 4, 24, {.precision = "bf16"}).hash == train(true, 4, 24, {.precision = "tf32"}).hash);
  CHECK_THROWS_WITH(train(true, 1, 24, {.precision = "fp16"}), Catch::Contains("fp16 runs on CUDA"));
}

TEST_CASE("the fused form has the bits of the decomposed one", "[bits]") {
  for (const bool convolutional : {false, true}) {
    const std::int64_t batch = convolutional ? 17 : 40;
    const Outcome fused = train(convolutional, 12, batch, {}, true), apart = train(convolutional, 12, batch, {}, false);
    CHECK(fused.hash == apart.hash);
    CHECK(fused.loss == apart.loss);
  }
}

TEST_CASE("the hand-written rows have the bits of the reference", "[bits]") {
  if (!backend("cpu").canonical()) {
    WARN("skipped: no instruction set with FMA here");
    return;
  }
  CHECK(train(true, 6, 19, {.providers = "reference"}).hash == train(true, 6, 19, {}).hash);
  CHECK(train(false, 20, 64, {.providers = "reference"}).hash == train(false, 20, 64, {}).hash);
}

TEST_CASE("every op of both models runs on the provider that was named", "[bits]") {
  for (const char* provider : {"cpu.eigen", "reference"})
    for (const bool convolutional : {false, true}) {
      CompileOptions o = image_options(convolutional);
      o.run.providers = provider;
      Program p = compile(convolutional ? cnn() : mlp(), o);
      for (const auto mode : {Program::Mode::train, Program::Mode::evaluate, Program::Mode::predict})
        for (const PlanEntry& e : p.plan(mode, 8)) {
          INFO(e.op << " " << e.shape);
          CHECK(e.provider == provider);
        }
    }
}

TEST_CASE("TENON_PROVIDERS stands in for the option, and one op can be named", "[bits]") {
  setenv("TENON_PROVIDERS", "matmul=cpu.eigen", 1);
  Program p = compile(mlp(), image_options(false));
  unsetenv("TENON_PROVIDERS");
  int eigen = 0;
  for (const PlanEntry& e : p.plan(Program::Mode::train, 8)) {
    CHECK((e.provider == "cpu.eigen") == (e.op == "matmul"));
    eigen += e.provider == "cpu.eigen";
  }
  CHECK(eigen == 3);
  CHECK(p.banner().find("(any order)") != std::string::npos);
  CompileOptions o = image_options(false);
  for (const char* wrong : {"cpu.mystery", "nothing=cpu.eigen"}) {
    o.run.providers = wrong;
    CHECK_THROWS_AS(compile(mlp(), o), UsageError);
  }
}

TEST_CASE("by default no op of both models falls to a naive row, and the convolutions are fused", "[bits]") {
  for (const bool convolutional : {false, true}) {
    Program p = compile(convolutional ? cnn() : mlp(), image_options(convolutional));
    int relus = 0;
    for (const PlanEntry& e : p.plan(Program::Mode::train, 8)) {
      INFO(e.op);
      CHECK_FALSE(e.naive);
      relus += e.op == "relu" || e.op == "max_pool2d" || e.op == "dropout" || e.op == "bias_add";
    }
    CHECK(relus == 0);
  }
}

TEST_CASE("after warm-up a step allocates nothing", "[bits]") {
#ifdef TENON_COUNT_ALLOCATIONS
  for (const bool convolutional : {false, true}) {
    const nn::Sequential net = convolutional ? cnn() : mlp();
    Program p = compile(net, image_options(convolutional));
    Loader loader(digits(), {.batch_size = 32, .seed = 1});
    loader.start_epoch(0);
    for (int i = 0; i < 4; ++i) (void)p.step(*loader.next());
    const long before = allocations;
    for (int i = 0; i < 10; ++i) (void)p.step(*loader.next());
    CHECK(allocations == before);
    std::vector<int> counted(1000);
    CHECK(allocations > before);  // the counter counts
  }
#else
  WARN("skipped: the sanitizer owns malloc");
#endif
}
