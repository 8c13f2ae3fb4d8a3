// The page of all runs: the newest first, their last figures side by side.
#include <fmt/format.h>

#include <algorithm>

#include "lib/track/files.hpp"
#include "lib/track/places.hpp"
#include "lib/track/report/chart.hpp"
#include "lib/track/report/html.hpp"
#include "lib/track/report/page.hpp"
#include "lib/track/report/scale.hpp"
#include "tenon/track_report.hpp"

namespace tenon::track {
namespace {

using html::isolated;

constexpr std::size_t most_columns = 8, most_runs = 500;

/// Metrics that several runs have, the commonest first; values of single minibatches are left to the reports.
std::vector<std::string> columns_of(const std::vector<RunView>& runs) {
  std::vector<std::pair<std::string, int>> counts;
  for (const RunView& run : runs)
    for (const Metric& m : run.metrics) {
      if (m.name.starts_with("step/")) continue;
      const auto known = std::ranges::find(counts, m.name, &std::pair<std::string, int>::first);
      known == counts.end() ? counts.emplace_back(m.name, 1).second : ++known->second;
    }
  std::ranges::stable_sort(counts, std::ranges::greater{}, &std::pair<std::string, int>::second);
  std::vector<std::string> names;
  for (const auto& [name, count] : counts)
    if (names.size() < most_columns) names.push_back(name);
  return names;
}

std::string row(const RunView& run, const std::vector<std::string>& columns, const std::string& link) {
  const Metric* loss = nullptr;
  for (const char* name : {"step/loss", "epoch/loss", "Loss", "loss"})
    if (loss == nullptr) loss = run.metric(name);
  const std::int64_t end = run.ended > 0 ? run.ended : run.last_written;
  std::string out = fmt::format(
      "<tr><td><a href=\"{}\">{}</a></td><td>{}</td><td>{}</td><td>{}</td><td class=\"n\">{}</td><td>{}</td>", link,
      isolated(run.id, 64), isolated(run.name, 40), html::status(run.status), html::moment(run.started),
      html::duration(end - run.started), loss != nullptr ? sparkline(*loss) : "");
  for (const std::string& name : columns) {
    const Metric* m = run.metric(name);
    out += fmt::format("<td class=\"n\">{}</td>", m != nullptr ? short_number(m->last()) : "");
  }
  return out + "</tr>\n";
}

}  // namespace

std::string write_index(const std::string& root) {
  const std::string folder = root_of_runs(root);
  std::vector<RunView> runs = RunView::all(folder);
  std::ranges::stable_sort(runs, std::ranges::greater{}, &RunView::started);
  if (runs.size() > most_runs) runs.erase(runs.begin() + most_runs, runs.end());
  std::string page = html::opening("Runs") + "<h1>Runs</h1>\n";
  std::vector<std::string> experiments;
  for (const RunView& run : runs)
    if (std::ranges::find(experiments, run.experiment) == experiments.end()) experiments.push_back(run.experiment);
  if (runs.empty()) page += "<p>There is none yet.</p>\n";
  for (const std::string& experiment : experiments) {
    std::vector<RunView> own;
    for (const RunView& run : runs)
      if (run.experiment == experiment) own.push_back(run);
    const std::vector<std::string> columns = columns_of(own);
    page += fmt::format(
        "<h2>{}</h2>\n<div class=\"wide\"><table "
        "class=\"runs\">\n<tr><th>run</th><th>name</th><th>status</th><th>started</th>"
        "<th class=\"n\">duration</th><th>loss</th>",
        isolated(experiment, 200));
    for (const std::string& name : columns) page += fmt::format("<th class=\"n\">{}</th>", isolated(name, 40));
    page += "</tr>\n";
    for (const RunView& run : own)
      page +=
          row(run, columns, html::address(base_of(parent_of(run.folder)) + "/" + base_of(run.folder) + "/report.html"));
    page += "</table></div>\n";
  }
  const std::string path = folder + "/index.html";
  put_file(path, page + html::closing());
  return path;
}

}  // namespace tenon::track
