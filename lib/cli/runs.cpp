// tenon runs ls|show|diff|metrics|files|rm
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "lib/cli/commands.hpp"
#include "lib/cli/describe.hpp"
#include "lib/cli/diff.hpp"
#include "lib/cli/text.hpp"
#include "tenon/error.hpp"

namespace tenon::cli {
namespace {

using track::RunView;

struct RunFlags : Options {
  std::string run, other, experiment;
  std::vector<std::string> names;  // of metrics, or of runs
  std::int64_t newest = 0;
  bool yes = false, all = false;
};

int list(const RunFlags& f) {
  std::vector<RunView> runs = RunView::all(f.root);
  if (!f.experiment.empty()) std::erase_if(runs, [&](const RunView& r) { return r.experiment != f.experiment; });
  std::ranges::reverse(runs);
  if (f.newest > 0 && runs.size() > static_cast<std::size_t>(f.newest)) runs.erase(runs.begin() + f.newest, runs.end());
  if (!f.json) {
    print_rows(table_of(runs, f.csv), f);
    return 0;
  }
  Json array = Json::array();
  for (const RunView& run : runs) array.push_back(json_of(run));
  print_json(array);
  return 0;
}

/// A name and a value for everything that is known of a run.
Table facts_of(const RunView& run) {
  Table table{{"what", "name", "value"}, {}};
  const auto add = [&](const char* what, const std::string& name, const Cell& value) {
    if (!value.shown.empty()) table.rows.push_back({what, name, value});
  };
  add("run", "id", run.id);
  add("run", "name", run.name);
  add("run", "experiment", run.experiment);
  add("run", "folder", run.folder);
  add("run", "status", status_cell(run.status));
  add("run", "reason", run.reason);
  add("run", "started", time_cell(run.started));
  add("run", "ended", time_cell(run.ended));
  add("run", "took", took(run));
  std::string words;
  for (const std::string& word : run.command_line) words += (words.empty() ? "" : " ") + word;
  add("run", "command line", words);
  for (const auto& [name, value] : run.params) add("param", name, value);
  for (const auto& [name, value] : run.tags) add("tag", name, value);
  for (const auto& [name, value] : run.environment) add("environment", name, value);
  for (const track::Metric& m : run.metrics)
    add("metric", m.name,
        {fmt::format("{} ({} value{})", short_number(m.last()), m.points.size(), m.points.size() == 1 ? "" : "s"),
         number_cell(m.last()).exact});
  for (const track::ConfusionEntry& c : run.confusions)
    add("confusion", c.name, fmt::format("{} labels", c.labels.size()));
  for (const track::ImageEntry& i : run.images) add("image", i.file, i.caption.empty() ? i.name : i.caption);
  for (const track::FileEntry& file : run.files())
    add("file", file.name, {size_text(file.bytes), std::to_string(file.bytes)});
  return table;
}

int show(const RunFlags& f) {
  const RunView run = RunView::open(f.run, f.root);
  if (f.json)
    print_json(whole_json_of(run));
  else
    print_rows(facts_of(run), f);
  return 0;
}

/// The metrics of these names, all without any.
std::vector<const track::Metric*> chosen(const RunView& run, const std::vector<std::string>& names) {
  std::vector<const track::Metric*> metrics;
  for (const std::string& name : names) {
    metrics.push_back(run.metric(name));
    if (metrics.back() != nullptr) continue;
    std::string there;
    for (const track::Metric& m : run.metrics) there += (there.empty() ? "" : ", ") + m.name;
    throw UsageError(fmt::format("[metrics] expected a metric of run {}, found '{}'; there are: {}", run.id, name,
                                 there.empty() ? "none" : there));
  }
  if (names.empty())
    for (const track::Metric& m : run.metrics) metrics.push_back(&m);
  return metrics;
}

int metrics(const RunFlags& f) {
  const RunView run = RunView::open(f.run, f.root);
  const auto list = chosen(run, f.names);
  if (f.json) {
    Json array = Json::array();
    for (const track::Metric* m : list) {
      Json points = Json::array();
      for (const track::Point& p : m->points)
        points.push_back(Json::object({{"step", p.step}, {"value", json_number(p.value)}, {"time", p.time}}));
      array.push_back(Json::object({{"name", json_text(m->name)}, {"points", std::move(points)}}));
    }
    print_json(array);
    return 0;
  }
  if (f.names.empty() && !f.csv) {
    print_table(table_of_metrics(run));
    return 0;
  }
  Table table{{"metric", "step", "value", "time"}, {}};
  for (const track::Metric* m : list)
    for (const track::Point& p : m->points)
      table.rows.push_back({m->name, count_cell(p.step), number_cell(p.value), time_cell(p.time)});
  print_rows(table, f);
  return 0;
}

int files(const RunFlags& f) {
  const std::vector<track::FileEntry> list = RunView::open(f.run, f.root).files();
  if (f.json)
    print_json(json_of_files(list));
  else
    print_rows(table_of_files(list), f);
  return 0;
}

/// What the user says at the terminal.
bool confirmed(const std::vector<RunView>& runs) {
  if (::isatty(STDIN_FILENO) != 1) throw UsageError("[rm] expected --yes, or a terminal where to ask, found neither");
  for (const RunView& run : runs)
    std::fprintf(stderr, "%s  %s  %s\n", visible(run.id).c_str(), visible(run.experiment).c_str(),
                 visible(run.folder).c_str());
  std::fprintf(stderr, "Remove %zu %s with all files? [y/N] ", runs.size(), runs.size() == 1 ? "run" : "runs");
  const int answer = std::getchar();
  return answer == 'y' || answer == 'Y';
}

int remove(const RunFlags& f) {
  std::vector<RunView> runs;  // all are found before the first one is removed
  for (const std::string& name : f.names) {
    RunView run = RunView::open(name, f.root);
    if (run.status == track::Status::running)
      throw UsageError(fmt::format("[rm] expected a run that has ended, found {} running", run.id));
    // One run under two names is one; and a folder can be removed by its whole path only.
    std::error_code none;
    if (const auto whole = std::filesystem::canonical(run.folder, none); !none) run.folder = whole.string();
    if (std::ranges::find(runs, run.folder, &RunView::folder) == runs.end()) runs.push_back(std::move(run));
  }
  if (!f.yes && !confirmed(runs)) {
    std::fprintf(stderr, "Nothing was removed.\n");
    return 1;
  }
  for (const RunView& run : runs) {
    track::remove_run(run);
    print(fmt::format("Removed {}\n", visible(run.id)));
  }
  return 0;
}

int difference(const RunFlags& f) {
  const RunView a = RunView::open(f.run, f.root), b = RunView::open(f.other, f.root);
  const std::vector<Difference> all = differences(a, b, f.all);
  if (f.json)
    print_json(json_of(a, b, all));
  else
    print_rows(table_of(a, b, all), f);
  return 0;
}

constexpr const char* about_run = "Id of a run, the beginning of one, or its folder";

}  // namespace

void add_runs(::CLI::App& app, Action& action) {
  ::CLI::App* runs = app.add_subcommand("runs", "Runs: list, show, compare, send to MLflow, remove");
  runs->require_subcommand(1);
  const auto add = [&](const char* name, const char* about, int (*act)(const RunFlags&), Formats formats) {
    auto flags = std::make_shared<RunFlags>();
    ::CLI::App* command = add_command(*runs, name, about, flags, formats);
    command->callback([&action, flags, act] { action = [flags, act] { return act(*flags); }; });
    return std::pair(command, flags);
  };
  {
    const auto [ls, flags] = add("ls", "Runs, the newest first", list, Formats::all);
    ls->add_option("--experiment", flags->experiment, "Only those of this experiment")->type_name("NAME");
    ls->add_option("-n,--newest", flags->newest, "Only so many")->type_name("N")->check(::CLI::Range(1, 1000000000));
  }
  {
    const auto [show_run, flags] = add("show", "Everything that is known of a run", show, Formats::all);
    show_run->add_option("RUN", flags->run, about_run)->required()->type_name("");
  }
  {
    const auto [diff, flags] = add("diff", "Parameters, tags, environment and last values that two runs do not share",
                                   difference, Formats::all);
    diff->add_option("A", flags->run, about_run)->required()->type_name("");
    diff->add_option("B", flags->other, "The same of the other run")->required()->type_name("");
    diff->add_flag("--all", flags->all, "Also what they share");
  }
  {
    const auto [values, flags] =
        add("metrics", "Metrics of a run; with names, or as JSON or CSV, every value", metrics, Formats::all);
    values->add_option("RUN", flags->run, about_run)->required()->type_name("");
    values->add_option("NAME", flags->names, "Only these metrics")->type_name("");
  }
  {
    const auto [of_run, flags] = add("files", "Files of a run with their sizes and SHA-256", files, Formats::all);
    of_run->add_option("RUN", flags->run, about_run)->required()->type_name("");
  }
  add_sync(*runs, action);
  {
    const auto [rm, flags] = add("rm", "Remove runs that have ended, with all files", remove, Formats::none);
    rm->add_option("RUN", flags->names, about_run)->required()->type_name("");
    rm->add_flag("--yes", flags->yes, "Do not ask");
  }
}

}  // namespace tenon::cli
