// tenon watch: a run while it goes on, in place on a terminal, line by line elsewhere.
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string_view>
#include <thread>

#include "lib/cli/commands.hpp"
#include "lib/cli/describe.hpp"
#include "lib/cli/progress.hpp"
#include "lib/cli/text.hpp"
#include "lib/train/hooks/format.hpp"

namespace tenon::cli {
namespace {

using track::RunView;
using track::Status;
using namespace std::chrono_literals;

constexpr auto between_looks = 200ms;
constexpr std::size_t bar_cells = 30, line_metrics = 4;

struct WatchFlags : Options {
  std::string run;
  bool once = false;
};

struct Size {
  std::size_t columns = 80, rows = 24;
};
Size terminal_size() {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 20 || size.ws_row < 6) return {};
  return {size.ws_col, size.ws_row};
}

std::string percent_of(const Progress& p) {
  return p.total
             ? fmt::format(" {}",
                           detail::percent(std::min(1., static_cast<double>(p.done) / static_cast<double>(*p.total))))
             : "";
}

std::string steps_text(const Progress& p) {
  return p.total ? fmt::format("step {}/{}", p.done, *p.total) : fmt::format("step {}", p.done);
}

std::string pace_text(const Progress& p) {
  std::string out;
  if (p.steps_per_second > 0) out += fmt::format("  {:.4g} steps/s", p.steps_per_second);
  if (p.seconds_left) out += "  ETA " + detail::duration(*p.seconds_left);
  return out;
}

std::string environment_of(const RunView& run, std::string_view wanted) {
  for (const auto& [name, value] : run.environment)
    if (name == wanted) return value;
  return "";
}

/// The view, without colours: the lines are cut to the terminal.
std::vector<std::string> view_of(const RunView& run, Size size) {
  const Progress p = progress_of(run);
  std::vector<std::string> lines;
  lines.push_back(fmt::format("{}  {}  {}", visible(run.name.empty() ? run.experiment : run.name), visible(run.id),
                              track::name_of(run.status)));
  if (!run.reason.empty()) lines.push_back(visible(run.reason));
  if (const std::string device = environment_of(run, "device"); !device.empty()) lines.push_back(visible(device));
  if (p.total) {
    const double share = std::min(1., static_cast<double>(p.done) / static_cast<double>(*p.total));
    lines.push_back(fmt::format("{}{}  epoch {}/{}  {}", detail::bar(static_cast<int>(share * bar_cells), bar_cells),
                                percent_of(p), p.epoch, p.epochs, steps_text(p)));
  } else {
    lines.push_back(steps_text(p));
  }
  lines.push_back(fmt::format("took {}{}", took(run), pace_text(p)));
  if (const track::Metric* main = main_metric(run); main != nullptr) {
    const std::string name = clipped(visible(main->name), 20);
    lines.push_back(fmt::format("{}  {}", name,
                                sparkline(main->points, std::min<std::size_t>(60, size.columns - 2 - cells(name)))));
  }
  std::size_t width = 0;
  for (const track::Metric& m : run.metrics) width = std::max(width, std::min<std::size_t>(40, cells(visible(m.name))));
  for (const track::Metric& m : run.metrics) {
    // One row is for the line that the cursor is on.
    if (lines.size() + 2 >= size.rows && &m != &run.metrics.back()) {
      lines.emplace_back("…");
      break;
    }
    const std::string name = clipped(visible(m.name), 40);
    lines.push_back(fmt::format("  {}{}  {}", name, std::string(width - cells(name), ' '), short_number(m.last())));
  }
  for (std::string& line : lines) line = clipped(line, size.columns - 1);
  return lines;
}

/// The same in one line.
std::string line_of(const RunView& run) {
  const Progress p = progress_of(run);
  std::string line = fmt::format("{}  {}", moment(run.last_written), track::name_of(run.status));
  if (!run.reason.empty()) line += fmt::format(" ({})", visible(run.reason));
  if (p.epoch > 0) line += fmt::format("  epoch {}/{}", p.epoch, p.epochs);
  line += fmt::format("  {}{}", steps_text(p), percent_of(p));
  for (std::size_t i = 0; i < std::min(run.metrics.size(), line_metrics); ++i)
    line += fmt::format("  {} {}", clipped(visible(run.metrics[i].name), 40), short_number(run.metrics[i].last()));
  return line + pace_text(p) + "\n";
}

/// Writes the lines over those of before, in one go so that nothing flickers. Returns how many there are.
std::size_t redraw(const RunView& run, std::size_t before) {
  const std::vector<std::string> lines = view_of(run, terminal_size());
  std::string out = before > 0 ? fmt::format("\r\x1b[{}A", before) : "";
  for (std::size_t i = 0; i < lines.size(); ++i) {
    std::string line = lines[i];
    const std::string status(track::name_of(run.status));
    if (i == 0 && line.ends_with(status))
      line.replace(line.size() - status.size(), status.size(), status_text(run.status));
    out += line + "\x1b[K\n";
  }
  print(out + "\x1b[J");
  return lines.size();
}

int watch(const WatchFlags& f) {
  RunView run = RunView::open(f.run, f.root);
  const char* term = std::getenv("TERM");
  const bool in_place = on_terminal() && std::string_view(term == nullptr ? "dumb" : term) != "dumb";
  std::size_t lines = 0;
  const auto show = [&] {
    if (in_place)
      lines = redraw(run, lines);
    else
      print(line_of(run));
  };
  show();
  while (!f.once && run.status == Status::running) {
    std::this_thread::sleep_for(between_looks);
    // The time goes on even where nothing was logged.
    if (run.refresh() || in_place) show();
  }
  return f.once || run.status == Status::completed ? 0 : 1;
}

}  // namespace

void add_watch(::CLI::App& app, Action& action) {
  auto flags = std::make_shared<WatchFlags>();
  ::CLI::App* command =
      add_command(app, "watch",
                  "Follow a run until it ends: in place on a terminal, else a line for every change.\n"
                  "Ends with status 1 when the run failed or crashed",
                  flags, Formats::none);
  command->add_option("RUN", flags->run, "Id of a run, the beginning of one, or its folder")->required()->type_name("");
  command->add_flag("--once", flags->once, "Show the state and end, with status 0 whatever it is");
  command->callback([&action, flags] { action = [flags] { return watch(*flags); }; });
}

}  // namespace tenon::cli
