// tenon runs: what the folders of runs say.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "lib/cli/commands.hpp"
#include "tenon/error.hpp"
#include "tenon/track_report.hpp"
#include "tenon/track_tensorboard.hpp"

namespace tenon::cli {
namespace {

using Json = nlohmann::ordered_json;
using track::Metric;
using track::Pairs;
using track::RunView;

RunView open(const Request& r) { return RunView::open(r.run, r.root); }

std::int64_t length_of(const RunView& v) { return (v.ended > 0 ? v.ended : v.last_written) - v.started; }

Json json_of(const Pairs& pairs) {
  Json object = Json::object();
  for (const auto& [name, value] : pairs) object[name] = value;
  return object;
}

Json json_of(const RunView& v) {
  Json last = Json::object();
  for (const Metric& m : v.metrics) last[m.name] = json_number(m.last());
  return {{"id", v.id},
          {"experiment", v.experiment},
          {"name", v.name},
          {"status", track::name_of(v.status)},
          {"reason", v.reason},
          {"started", v.started},
          {"ended", v.ended},
          {"folder", v.folder},
          {"params", json_of(v.params)},
          {"tags", json_of(v.tags)},
          {"environment", json_of(v.environment)},
          {"command_line", v.command_line},
          {"last", last}};
}

/// The figure that sums a run up best: what it measured of whole epochs or at its end.
std::string headline(const RunView& v) {
  for (const char* name :
       {"accuracy", "test_error", "epoch/val_accuracy", "epoch/val_loss", "epoch/loss", "loss", "step/loss"})
    if (const Metric* m = v.metric(name)) return fmt::format("{} {}", name, number(m->last()));
  return v.metrics.empty() ? ""
                           : fmt::format("{} {}", plain(v.metrics.back().name, 24), number(v.metrics.back().last()));
}

void add_pairs(std::string& text, const char* title, const Pairs& pairs) {
  if (pairs.empty()) return;
  text += fmt::format("\n{}\n", title);
  for (const auto& [name, value] : pairs) text += fmt::format("  {:<18} {}\n", plain(name, 40), plain(value, 160));
}

std::string value_of(const Pairs& pairs, const std::string& name) {
  for (const auto& [known, value] : pairs)
    if (known == name) return value;
  return "";
}

}  // namespace

void runs_ls(const Request& r) {
  const std::vector<RunView> runs = RunView::all(r.root);
  if (r.form == Form::json) {
    Json list = Json::array();
    for (const RunView& v : runs) list.push_back(json_of(v));
    return print(dump(list));
  }
  Table table({"run", "experiment", "name", "status", "started", "duration", "figure"});
  for (const RunView& v : runs)
    table.add({v.id, plain(v.experiment, 24), plain(v.name, 24), std::string(track::name_of(v.status)),
               moment(v.started), duration(length_of(v)), headline(v)});
  print(table, r.form);
}

void runs_show(const Request& r) {
  const RunView v = open(r);
  if (r.form == Form::json) return print(dump(json_of(v)));
  std::string text = fmt::format("{}  {}\n{} of {}, {}, {}\n{}\n", v.id, track::name_of(v.status), plain(v.name),
                                 plain(v.experiment), moment(v.started), duration(length_of(v)), plain(v.folder, 400));
  if (!v.reason.empty()) text += plain(v.reason, 400) + "\n";
  text += "\nMetrics\n";
  for (const Metric& m : v.metrics)
    text += fmt::format("  {:<28} {:>12}  of {}\n", plain(m.name, 40), number(m.last()), m.points.size());
  add_pairs(text, "Parameters", v.params);
  add_pairs(text, "Tags", v.tags);
  add_pairs(text, "Environment", v.environment);
  print(text);
}

void runs_diff(const Request& r) {
  const RunView a = open(r), b = RunView::open(r.other, r.root);
  std::vector<std::vector<std::string>> rows;
  const auto compare = [&](const char* kind, const Pairs& x, const Pairs& y) {
    std::vector<std::string> names;
    for (const Pairs* pairs : {&x, &y})
      for (const auto& [name, value] : *pairs)
        if (std::ranges::find(names, name) == names.end()) names.push_back(name);
    for (const std::string& name : names)
      if (value_of(x, name) != value_of(y, name)) rows.push_back({kind, name, value_of(x, name), value_of(y, name)});
  };
  const auto last = [](const RunView& v) {
    Pairs pairs;
    for (const Metric& m : v.metrics) pairs.emplace_back(m.name, number(m.last()));
    return pairs;
  };
  compare("param", a.params, b.params);
  compare("environment", a.environment, b.environment);
  compare("metric", last(a), last(b));
  if (r.form == Form::json) {
    Json list = Json::array();
    for (const auto& row : rows) list.push_back({{"kind", row[0]}, {"name", row[1]}, {"a", row[2]}, {"b", row[3]}});
    return print(dump(list));
  }
  Table table({"kind", "name", a.id, b.id});
  for (const auto& row : rows)
    table.add(r.form == Form::csv ? row : std::vector{row[0], plain(row[1], 40), plain(row[2], 60), plain(row[3], 60)});
  print(table, r.form);
}

void runs_metrics(const Request& r) {
  const RunView v = open(r);
  if (!r.metric.empty() && v.metric(r.metric) == nullptr) {
    std::string names;
    for (const Metric& m : v.metrics) names += (names.empty() ? "" : ", ") + plain(m.name, 40);
    throw UsageError(fmt::format("[metrics] no '{}' in run {}; there are: {}", plain(r.metric), v.id,
                                 names.empty() ? "none" : names));
  }
  if (r.form == Form::json) {
    Json object = Json::object();
    for (const Metric& m : v.metrics) {
      if (!r.metric.empty() && m.name != r.metric) continue;
      Json points = Json::array();
      for (const track::Point& p : m.points)
        points.push_back({{"step", p.step}, {"value", json_number(p.value)}, {"time", p.time}});
      object[m.name] = points;
    }
    return print(dump(object));
  }
  if (r.form == Form::csv || !r.metric.empty()) {
    Table table({"metric", "step", "value", "time"});
    for (const Metric& m : v.metrics) {
      if (!r.metric.empty() && m.name != r.metric) continue;
      for (const track::Point& p : m.points)
        table.add({r.form == Form::csv ? m.name : plain(m.name), std::to_string(p.step),
                   r.form == Form::csv && std::isfinite(p.value) ? fmt::format("{}", p.value) : number(p.value),
                   std::to_string(p.time)});
    }
    return print(table, r.form);
  }
  Table table({"metric", "values", "last", "least", "most"});
  for (const Metric& m : v.metrics) {
    const std::vector<double> values = m.values();
    const auto [least, most] = std::ranges::minmax(values);
    table.add({plain(m.name, 40), std::to_string(values.size()), number(m.last()), number(least), number(most)});
  }
  print(table, r.form);
}

void runs_files(const Request& r) {
  const std::vector<track::FileEntry> files = open(r).files();
  if (r.form == Form::json) {
    Json list = Json::array();
    for (const track::FileEntry& f : files)
      list.push_back({{"name", f.name}, {"bytes", f.bytes}, {"sha256", f.sha256}});
    return print(dump(list));
  }
  Table table({"name", "bytes", "sha256"});
  for (const track::FileEntry& f : files)
    table.add({r.form == Form::csv ? f.name : plain(f.name, 100), std::to_string(f.bytes), f.sha256});
  print(table, r.form);
}

void runs_rm(const Request& r) {
  const RunView v = open(r);
  if (!r.yes) {
    if (::isatty(STDIN_FILENO) == 0) throw UsageError("[rm] expected --yes where nobody can be asked");
    print(fmt::format("Remove run {} of {} and all its files? [y/N] ", v.id, plain(v.experiment)));
    char answer[8] = {};
    if (std::fgets(answer, sizeof answer, stdin) == nullptr || (answer[0] != 'y' && answer[0] != 'Y'))
      throw UsageError("[rm] nothing was removed");
  }
  track::remove_run(v);
  print(fmt::format("Removed {}\n", v.id));
}

void runs_report(const Request& r) {
  print(track::write_report(open(r)) + "\n");
  (void)track::write_index(r.root);
}

void runs_tensorboard(const Request& r) { print(track::export_tensorboard(open(r)) + "\n"); }

}  // namespace tenon::cli
