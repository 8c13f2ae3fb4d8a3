// cli_runs KIND ROOT: a run for the program `tenon`; prints its folder. KIND is `done`, `other` (a second one), `odd` (names
// that a terminal or a spreadsheet would obey), `failed`, or `live`, which trains until its stdin ends.
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "tenon/track.hpp"

int main(int argc, char** argv) try {
  if (argc != 3) return 2;
  using namespace tenon::track;
  const std::string kind = argv[1];
  const bool odd = kind == "odd";
  Run run =
      Experiment(odd ? "=1+1 \xe2\x80\xae" : "digits", {.root = argv[2]})
          .start_run({.name = odd ? "\x1b[31mred\nline" : kind,
                      .params = {{"epochs", "2"}, {"steps_per_epoch", "50"}, {"lr", kind == "other" ? "0.2" : "0.1"}},
                      .environment = {{"device", "cpu: a processor"}}});
  std::vector<double> losses;
  for (int i = 0; i < 100; ++i) losses.push_back(2.5 / (i + 1));
  const auto train = [&](int first, int end) {
    for (int i = first; i < end; ++i)
      run.log_steps(i, std::vector<Run::Value>{{"loss", losses[static_cast<std::size_t>(i)]}});
    run.flush();
  };
  if (kind == "live") {
    train(0, 32);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));  // two times give a pace
    train(32, 64);
  }
  std::printf("%s\n", run.folder().c_str());
  (void)std::fflush(stdout);
  if (kind == "live") {
    (void)std::getchar();
    train(64, 100);
    (void)std::getchar();
    run.complete();
    return 0;
  }
  run.log("loss", losses);
  run.log("accuracy", kind == "other" ? 0.75 : 0.5);
  const double infinity = std::numeric_limits<double>::infinity();
  if (odd) {
    run.log("@sum\xff", std::vector<double>{std::nan(""), infinity, -infinity, -1.5});
    run.tag(
        "\xe2\x80\xae"
        "edoc",
        "\x9b"
        "31m \xc2\x9b");
  }
  std::ofstream(run.outputs() + "/weights.safetensors") << "weights of " << kind;
  if (kind == "failed")
    run.fail("loss is not finite");
  else
    run.complete();
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
