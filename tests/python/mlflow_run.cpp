// mlflow_run make ROOT            a run with all that MLflow may be told; prints its folder
// mlflow_run live ROOT URI        a run that is sent while it grows; prints its folder and what each call sent
// mlflow_run sync FOLDER URI [MODEL FILE ALIAS]   prints what was sent, as JSON
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include "tenon/error.hpp"
#include "tenon/track_mlflow.hpp"

namespace {

using namespace tenon::track;

void print(const MlflowResult& r) {
  std::printf(R"({"run_id":"%s","experiment_id":"%s","model_version":"%s","metrics":%lld,"params":%lld,"tags":%lld,)"
              R"("files":%lld,"requests":%lld})"
              "\n",
              r.run_id.c_str(), r.experiment_id.c_str(), r.model_version.c_str(),
              static_cast<long long>(r.metrics_sent), static_cast<long long>(r.params_sent),
              static_cast<long long>(r.tags_sent), static_cast<long long>(r.files_sent),
              static_cast<long long>(r.requests));
}

MlflowOptions options_for(const char* uri) {
  MlflowOptions options{.uri = uri};
  if (const char* attempts = std::getenv("TEST_ATTEMPTS")) options.attempts = std::atoi(attempts);
  return options;
}

void make(const char* root) {
  Run run = Experiment("digits \xc3\xa9/1", {.root = root}).start_run({.name = "all kinds"});
  run.log_params({{"lr", "0.001"},
                  {"a/../b", "refused as it is"},
                  {"empty", ""},
                  {"odd \xff", "\xff"},
                  {"long", std::string(7'000, 'x')}});
  run.tag("purpose", "a <b>test</b>\nof lines");
  std::vector<double> losses, errors;
  for (int i = 0; i < 9'375; ++i) {
    losses.push_back(2.3 * std::exp(-i / 1'000.) + 1e-3 * std::sin(i * 0.7));
    errors.push_back((i * 37 % 64) / 64.);
  }
  run.log("Loss", losses);
  run.log("Error", errors);
  run.log("accuracy", 0.99, 4);
  const double infinity = std::numeric_limits<double>::infinity();
  run.log("odd & ends", std::vector<double>{std::nan(""), infinity, -infinity, 1e300, -1e-300, 5e-324, -0.0});
  run.log("big step", 1, std::int64_t{1} << 40);
  run.log("//", 7, -3);
  run.log_image("mistakes", std::vector<std::uint8_t>(28 * 28, 200), 28, 28, 1, 2, "4, not 9");
  std::ofstream(run.outputs() + "/model 1%2f.bin", std::ios::binary) << std::string(300'000, '\x01') << '\0' << "end";
  std::ofstream(run.outputs() + "/empty.txt");
  run.complete();
  std::printf("%s\n", run.folder().c_str());
}

void live(const char* root, const char* uri) {
  Run run = Experiment("live", {.root = root}).start_run({});
  std::printf("%s\n", run.folder().c_str());
  RunView view = RunView::open(run.folder());
  for (int part = 0; part < 3; ++part) {
    for (int i = 0; i < 100; ++i) run.log("loss", 1. / (part * 100 + i + 1));
    view.refresh();
    print(sync_mlflow(view, options_for(uri)));
  }
  run.fail("out of luck");
  view.refresh();
  print(sync_mlflow(view, options_for(uri)));
}

}  // namespace

int main(int argc, char** argv) try {
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "make" && argc == 3) {
    make(argv[2]);
  } else if (what == "live" && argc == 4) {
    live(argv[2], argv[3]);
  } else if (what == "sync" && (argc == 4 || argc == 7)) {
    MlflowOptions options = options_for(argv[3]);
    if (argc == 7) options.registered_model = argv[4], options.model_file = argv[5], options.alias = argv[6];
    print(sync_mlflow(RunView::open(argv[2]), options));
  } else {
    return 2;
  }
} catch (const tenon::Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return static_cast<int>(error.code());
}
