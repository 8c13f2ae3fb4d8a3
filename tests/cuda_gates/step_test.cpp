// One training step of both models on the emulated device, small enough for a sanitizer, with the CPU's bits.
#include "tenon/backend.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/models.hpp"

namespace tenon::test {

TEST_CASE("a training step of both models", "[cuda][step]") {
  if (!backend("cpu").canonical()) {
    WARN("skipped: no instruction set with FMA here");
    return;
  }
  for (const bool convolutional : {true, false}) {
    INFO((convolutional ? "cnn" : "mlp"));
    const Outcome host = train(convolutional, 1, 2, {});
    const Outcome device = train(convolutional, 1, 2, {.device = "cuda", .seed = 3});
    CHECK(device.hash == host.hash);
    CHECK(device.loss == host.loss);
  }
}

}  // namespace tenon::test
