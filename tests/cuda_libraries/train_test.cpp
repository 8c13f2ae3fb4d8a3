// Whole trainings on the emulated module with the libraries' kernels, `--provider cuda.cudnn`: the fakes run inside it, step by
// step (TENON_VERBOSE=time), because they compute at once and would be missing in a recording. Where the libraries have no row,
// cuda.tenon's stands in.
#include <algorithm>
#include <cmath>

#include "tenon/backend.hpp"
#include "tests/cuda_libraries/fake_of.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/models.hpp"

namespace tenon::tests {
namespace {

using namespace tenon::test;

int count(const fake::Fake& f, const std::string& call) {
  return static_cast<int>(
      std::count_if(f.calls.begin(), f.calls.end(), [&](const std::string& c) { return c.starts_with(call); }));
}

}  // namespace

TEST_CASE("both models train with the libraries' kernels", "[libraries][train]") {
  fake::Fake &d = dnn(), &b = blas();
  d = b = {};
  Backend& device = backend("cuda");
  d.stream = b.stream = device.stream();
  for (const bool convolutional : {true, false}) {
    INFO((convolutional ? "cnn" : "mlp"));
    constexpr int steps = 2;
    const Outcome host = train(convolutional, steps, 4, {});
    Options options{.device = "cuda", .seed = 3, .fuse = false};
    options.providers = "cuda.cudnn";
    d.calls.clear();
    b.calls.clear();
    const Outcome found = train(convolutional, steps, 4, options);
    CHECK(std::abs(found.loss - host.loss) < 1e-3 * std::abs(host.loss));
    CHECK(count(b, "cublasGemmEx") >= steps);
    CHECK(count(b, "cublasGemmEx pedantic") == count(b, "cublasGemmEx"));
    CHECK((count(d, "cudnnConvolutionForward") > 0) == convolutional);
    CHECK((count(d, "cudnnConvolutionBackwardFilter") > 0) == convolutional);
    CHECK(count(d, "cudnnActivationBackward") > 0);
    CHECK(d.faults.empty());
    CHECK(b.faults.empty());
  }
}

}  // namespace tenon::tests
