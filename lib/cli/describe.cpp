// Rows and JSON of runs.
#include "lib/cli/describe.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "lib/train/hooks/format.hpp"

namespace tenon::cli {
namespace {

using track::Metric;
using track::RunView;

constexpr std::size_t most_figures = 4;  // beside a run in the list

/// The last values of a few metrics, those with a single value first: they are what a program says at its end.
std::string figures(const RunView& run) {
  std::vector<const Metric*> list;
  for (const Metric& metric : run.metrics) list.push_back(&metric);
  std::ranges::stable_partition(list, [](const Metric* m) { return m->points.size() == 1; });
  std::string out;
  for (std::size_t i = 0; i < std::min(list.size(), most_figures); ++i)
    out += fmt::format("{}{} {}", i > 0 ? ", " : "", list[i]->name, short_number(list[i]->last()));
  if (list.size() > most_figures) out += fmt::format(", {} more", list.size() - most_figures);
  return out;
}

std::int64_t milliseconds(const RunView& run) {
  const std::int64_t end = run.ended > 0                          ? run.ended
                           : run.status == track::Status::running ? track::now_ms()
                                                                  : run.last_written;
  return std::max<std::int64_t>(0, end - run.started);
}

const std::string* value_of(const track::Pairs& pairs, const std::string& name) {
  const auto found = std::ranges::find(pairs, name, &track::Pairs::value_type::first);
  return found == pairs.end() ? nullptr : &found->second;
}

void add_once(std::vector<std::string>& names, const std::string& name) {
  if (std::ranges::find(names, name) == names.end()) names.push_back(name);
}

}  // namespace

std::string took(const RunView& run) { return detail::duration(static_cast<double>(milliseconds(run)) / 1000); }

Extremes extremes_of(const Metric& metric) {
  constexpr double none = std::numeric_limits<double>::quiet_NaN();
  Extremes e{none, none};
  for (const track::Point& p : metric.points) {
    e.least = std::fmin(e.least, p.value);
    e.most = std::fmax(e.most, p.value);
  }
  return e;
}

Table table_of(const std::vector<RunView>& runs, bool csv) {
  Table table{{"id", "name", "experiment", "status", "started", csv ? "seconds" : "took"}, {}};
  std::vector<std::string> params, metrics;
  if (csv)
    for (const RunView& run : runs) {
      for (const auto& [name, value] : run.params) add_once(params, name);
      for (const Metric& metric : run.metrics) add_once(metrics, metric.name);
    }
  for (const std::string& name : params) table.header.push_back("param:" + name);
  for (const std::string& name : metrics) table.header.push_back("metric:" + name);
  if (!csv) table.header.emplace_back("last values");
  for (const RunView& run : runs) {
    Cell seconds(took(run), fmt::format("{}", static_cast<double>(milliseconds(run)) / 1000));
    seconds.number = true;
    std::vector<Cell> row{run.id, run.name, run.experiment, status_cell(run.status), time_cell(run.started), seconds};
    for (const std::string& name : params) {
      const std::string* value = value_of(run.params, name);
      row.emplace_back(value == nullptr ? "" : *value);
    }
    for (const std::string& name : metrics) {
      const Metric* metric = run.metric(name);
      row.push_back(metric == nullptr ? Cell("") : number_cell(metric->last()));
    }
    if (!csv) row.emplace_back(figures(run));
    table.rows.push_back(std::move(row));
  }
  return table;
}

Table table_of_metrics(const RunView& run) {
  Table table{{"metric", "values", "first", "last", "least", "most"}, {}};
  for (const Metric& metric : run.metrics) {
    const Extremes e = extremes_of(metric);
    const double first = metric.points.empty() ? metric.last() : metric.points.front().value;
    table.rows.push_back({metric.name, count_cell(static_cast<std::int64_t>(metric.points.size())), number_cell(first),
                          number_cell(metric.last()), number_cell(e.least), number_cell(e.most)});
  }
  return table;
}

Table table_of_files(const std::vector<track::FileEntry>& files) {
  Table table{{"file", "bytes", "sha256"}, {}};
  for (const track::FileEntry& file : files) table.rows.push_back({file.name, size_cell(file.bytes), file.sha256});
  return table;
}

Json json_of(const RunView& run) {
  Json last = Json::object();
  for (const Metric& metric : run.metrics) last[track::to_utf8(metric.name)] = json_number(metric.last());
  return {{"id", json_text(run.id)},
          {"name", json_text(run.name)},
          {"experiment", json_text(run.experiment)},
          {"folder", json_text(run.folder)},
          {"status", track::name_of(run.status)},
          {"reason", json_text(run.reason)},
          {"started", run.started},
          {"ended", run.ended > 0 ? Json(run.ended) : Json()},
          {"params", json_pairs(run.params)},
          {"last", std::move(last)}};
}

Json json_of_files(const std::vector<track::FileEntry>& files) {
  Json list = Json::array();
  for (const track::FileEntry& f : files)
    list.push_back(Json::object({{"name", json_text(f.name)}, {"bytes", f.bytes}, {"sha256", f.sha256}}));
  return list;
}

Json whole_json_of(const RunView& run) {
  Json json = json_of(run);
  json["last_written"] = run.last_written;
  json["tags"] = json_pairs(run.tags);
  json["environment"] = json_pairs(run.environment);
  Json words = Json::array();
  for (const std::string& word : run.command_line) words.push_back(json_text(word));
  json["command_line"] = std::move(words);
  Json metrics = Json::array();
  for (const Metric& m : run.metrics) {
    const Extremes e = extremes_of(m);
    metrics.push_back(Json::object({{"name", json_text(m.name)},
                                    {"values", m.points.size()},
                                    {"last", json_number(m.last())},
                                    {"least", json_number(e.least)},
                                    {"most", json_number(e.most)}}));
  }
  json["metrics"] = std::move(metrics);
  Json images = Json::array();
  for (const track::ImageEntry& i : run.images)
    images.push_back(Json::object({{"name", json_text(i.name)},
                                   {"file", json_text(i.file)},
                                   {"step", i.step},
                                   {"time", i.time},
                                   {"caption", json_text(i.caption)}}));
  json["images"] = std::move(images);
  Json confusions = Json::array();
  for (const track::ConfusionEntry& c : run.confusions) {
    Json labels = Json::array();
    for (const std::string& label : c.labels) labels.push_back(json_text(label));
    confusions.push_back(Json::object(
        {{"name", json_text(c.name)}, {"time", c.time}, {"labels", std::move(labels)}, {"counts", c.counts}}));
  }
  json["confusions"] = std::move(confusions);
  json["files"] = json_of_files(run.files());
  return json;
}

}  // namespace tenon::cli
