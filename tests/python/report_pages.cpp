// report_pages ROOT: runs of every kind with their report.html, and the index.html of all. Prints nothing.
#include <cmath>
#include <cstdio>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include "tenon/track_report.hpp"

namespace {

using namespace tenon::track;

/// Everything that a page shows, with `text` wherever a user's word stands.
void log_everything(Run& run, const std::string& text) {
  std::vector<double> losses(3'000);
  for (std::size_t i = 0; i < losses.size(); ++i) {
    const auto step = static_cast<double>(i);
    losses[i] = 2.3 * std::exp(-step / 300) + 1e-2 * std::sin(step * 0.7);
  }
  run.log("step/" + text, losses);
  run.log("epoch/" + text, std::vector<double>{2, 1, 0.5});
  run.log("epoch/val_" + text, std::vector<double>{2, 1.5, 1});
  const double infinity = std::numeric_limits<double>::infinity();
  run.log(text, std::vector<double>{1, std::nan(""), infinity, -infinity, 1e300, -0.0});
  run.log("accuracy", 0.99);
  run.log_params({{text, text}, {"lr", "0.1"}});
  run.tag(text, text);
  run.log_confusion(text, std::vector<std::string>{text, "b", ""},
                    std::vector<std::int64_t>{90, 1, 9, 0, 4, 0, 0, 0, 0});
  run.log_image(text, std::vector<std::uint8_t>(28 * 28, 200), 28, 28, 1, 2, text);
  run.log_image(text, std::vector<std::uint8_t>(12, 7), 2, 2, 3);
  std::ofstream(run.outputs() + "/net.safetensors") << "weights";
}

Run started(const std::string& root, const std::string& text) {
  return Experiment(text, {.root = root})
      .start_run({.name = text, .params = {{text, text}}, .environment = {{text, text}}, .command_line = {text, text}});
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 2) return 2;
  const std::string root = argv[1];
  for (const char* text :
       {"loss", "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)> ' onload='x", "a\nb\r\t\x01\x7f",
        "&lt;&amp;<!-- --> ]]> </title></style></svg><b>", "\xe2\x80\xae\xff\xfe\xc0\x80\xed\xa0\x80",
        "\xef\xbf\xbe\xef\xb7\x90\xc2\x85 \xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x94\xac"}) {
    Run run = started(root, text);
    log_everything(run, text);
    run.register_model("net", "net.safetensors");
    run.fail(text);
    (void)write_report(RunView::open(run.folder()));
  }
  Run empty = started(root, "nothing logged");
  empty.complete();
  (void)write_report(RunView::open(empty.folder()));
  Run many = started(root, "more than a page shows");
  for (int i = 0; i < 600; ++i) many.log("metric " + std::to_string(i), std::vector<double>{1. * i, 2});
  many.log_confusion("large", std::vector<std::string>(101, "x"), std::vector<std::int64_t>(101 * 101, 1));
  many.complete();
  (void)write_report(RunView::open(many.folder()));
  Run running = started(root, "still running");
  log_everything(running, "loss");
  (void)write_report(RunView::open(running.folder()));
  (void)write_index(root);
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
