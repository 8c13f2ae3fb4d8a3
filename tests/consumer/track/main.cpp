// track_me ROOT: a run with a value, a page and an event file, read back. Ends with status 0 if all is as it was logged.
#include <cstdio>
#include <tenon/track.hpp>
#include <tenon/track_mlflow.hpp>
#include <tenon/track_report.hpp>
#include <tenon/track_tensorboard.hpp>

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  using namespace tenon::track;
  Run run = Experiment("consumer", {.root = argv[1]}).start_run();
  run.log("accuracy", 0.99);
  run.log_image("dot", std::vector<std::uint8_t>{0}, 1, 1, 1);
  run.complete();
  const RunView view = RunView::open(run.folder());
  std::printf("%s\n%s\n", write_report(view).c_str(), export_tensorboard(view).c_str());
  try {
    (void)sync_mlflow(view, {.uri = "ftp://nowhere"});
    return 1;
  } catch (const std::exception& error) {
    std::printf("%s\n", error.what());
  }
  return view.metric("accuracy")->last() == 0.99 && view.status == Status::completed ? 0 : 1;
}
