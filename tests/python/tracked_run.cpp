// tracked_run ROOT: a run with what TensorBoard shows, and its event file. Prints the run's folder.
#include <cmath>
#include <cstdio>
#include <limits>
#include <string>
#include <vector>

#include "tenon/error.hpp"
#include "tenon/track_tensorboard.hpp"

int main(int argc, char** argv) try {
  if (argc != 2) return 2;
  using namespace tenon::track;
  Run run = Experiment("digits \xc3\xa9 \xff", {.root = argv[1]}).start_run({.name = "all kinds"});
  run.log_params({{"lr", "0.001"}, {"optimizer", "adam \xff"}, {"shuffle", "true"}, {"epochs", "5"}});
  std::vector<double> losses;
  for (int i = 0; i < 9'375; ++i) losses.push_back(2.3 * std::exp(-i / 1'000.) + 1e-3 * std::sin(i * 0.7));
  run.log("Loss", losses);
  for (int step = 0; step < 200; ++step)
    run.log_steps(step, std::vector<Run::Value>{{"minibatch/loss", 1. / (step + 1)}, {"lr \xff", 1e-3}});
  run.log("accuracy", 0.99, 4);
  const double infinity = std::numeric_limits<double>::infinity();
  run.log("odd", std::vector<double>{std::nan(""), infinity, -infinity, 1e300, -1e-300, 1e-45, 16'777'217});
  run.log("big step", 1, std::int64_t{1} << 40);
  std::vector<std::uint8_t> pixels(28 * 28 * 3);
  const char* captions[] = {"4, not 9", "a|b *c* <b>d</b> [e](http://f) \\ `g` &amp; \xc3\xa9 \xff\n## h", ""};
  for (int i = 0; i < 3; ++i) {  // two share a step
    for (std::size_t at = 0; at < pixels.size(); ++at)
      pixels[at] = static_cast<std::uint8_t>(at * (static_cast<std::size_t>(i) + 3));
    run.log_image("mistakes", pixels, 28, 28, 3, i / 2, captions[i]);
  }
  run.log_image("kernel", std::vector<std::uint8_t>(15, 200), 5, 3, 1);
  const std::vector<std::string> labels{"cat", "a|b *c* <b>d</b>", "~~e~~ __f__"};
  run.log_confusion("test", labels, std::vector<std::int64_t>{10, 2, 0, 3, 1LL << 60, 0, 0, -7, 5});
  run.log_confusion("test", labels, std::vector<std::int64_t>(9, 1));
  run.log_confusion("large", std::vector<std::string>(101, "x"), std::vector<std::int64_t>(101 * 101, 1));
  run.tag("purpose", "a|b *c* <script>d</script>");
  run.tag("owner", "");
  run.complete();
  const RunView view = RunView::open(run.folder());
  export_tensorboard(view);
  export_tensorboard(view);  // in place of the first
  std::printf("%s\n", view.folder.c_str());
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
