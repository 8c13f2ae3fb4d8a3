// The page of all runs: the newest first, their last figures side by side.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

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

/// The metric that is called the loss: of steps rather than of epochs, else the first that sounds like it.
const Metric* loss_of(const RunView& run) {
  for (const char* name : {"step/loss", "loss", "Loss", "epoch/loss"})
    if (const Metric* m = run.metric(name); m != nullptr) return m;
  for (const Metric& m : run.metrics)
    if (m.name.find("loss") != std::string::npos) return &m;
  return nullptr;
}

/// Metrics that several runs have: single figures, then those of epochs, then those of steps where none of an epoch is;
/// among these the commonest first.
std::vector<std::string> columns_of(const std::vector<const RunView*>& runs) {
  struct Column {
    std::string name;
    int rank, runs;
  };
  std::vector<Column> columns;
  std::map<std::string, std::size_t> known;
  for (const RunView* run : runs)
    for (const Metric& m : run->metrics) {
      if (html::epochs_tell(*run, m)) continue;
      const int rank = m.points.size() == 1 ? 0 : m.name.starts_with("epoch/") ? 1 : 2;
      const auto [at, is_new] = known.emplace(m.name, columns.size());
      if (is_new) columns.push_back({m.name, rank, 0});
      ++columns[at->second].runs;
      columns[at->second].rank = std::max(columns[at->second].rank, rank);
    }
  std::ranges::stable_sort(columns, {}, [](const Column& c) { return std::pair(c.rank, -c.runs); });
  std::vector<std::string> names;
  for (std::size_t i = 0; i < std::min(columns.size(), most_columns); ++i) names.push_back(columns[i].name);
  return names;
}

/// The name leads to the run's page where it has one.
std::string row(const RunView& run, const std::vector<std::string>& columns) {
  const std::string shown = isolated(run.name.empty() ? run.id : run.name, 80);
  const std::string link = html::address(base_of(parent_of(run.folder)) + "/" + base_of(run.folder) + "/report.html");
  const std::int64_t end = run.ended > 0 ? run.ended : run.last_written;
  const Metric* loss = loss_of(run);
  std::string out =
      fmt::format("<tr><th scope=\"row\">{}<small>{}</small></th><td>{}</td><td>{}</td>",
                  is_file(run.folder + "/report.html") ? fmt::format("<a href=\"{}\">{}</a>", link, shown) : shown,
                  isolated(run.id, 64), html::status(run.status), loss != nullptr ? sparkline(*loss) : "");
  for (const std::string& name : columns) {
    const Metric* m = run.metric(name);
    out += fmt::format("<td class=\"n\">{}</td>", m != nullptr ? short_number(m->last()) : "");
  }
  return out + fmt::format("<td>{}</td><td class=\"n\">{}</td></tr>\n", html::moment(run.started),
                           html::duration(run.started > 0 && end > 0 ? end - run.started : -1));
}

std::string table(const std::string& experiment, const std::vector<const RunView*>& runs) {
  const std::vector<std::string> columns = columns_of(runs);
  std::string out = fmt::format(
      "<h2>{}</h2>\n<div class=\"wide\" tabindex=\"0\"><table class=\"runs\">\n"
      "<tr><th>run</th><th>status</th><th>loss</th>",
      isolated(experiment, 200));
  for (const std::string& name : columns) {
    // "epoch/" is left out where nothing else has the rest as its name.
    const std::string rest = name.starts_with("epoch/") ? name.substr(6) : name;
    out += fmt::format("<th class=\"n\">{}</th>", isolated(std::ranges::count(columns, rest) == 0 ? rest : name, 40));
  }
  out += "<th>started</th><th class=\"n\">duration</th></tr>\n";
  for (const RunView* run : runs) out += row(*run, columns);
  return out + "</table></div>\n";
}

}  // namespace

std::string write_index(const std::string& root) {
  const std::string folder = root_of_runs(root);
  make_folders(folder);
  std::vector<RunView> runs = RunView::all(folder);
  std::ranges::stable_sort(runs, std::ranges::greater{}, [](const RunView& r) { return std::pair(r.started, r.id); });
  const std::size_t count = runs.size();
  if (count > most_runs) runs.resize(most_runs);
  // Experiments in the order of their newest runs.
  std::vector<std::pair<std::string, std::vector<const RunView*>>> experiments;
  for (const RunView& run : runs) {
    auto own = std::ranges::find(experiments, run.experiment, [](const auto& e) { return e.first; });
    if (own == experiments.end()) own = experiments.insert(experiments.end(), {run.experiment, {}});
    own->second.push_back(&run);
  }
  std::string page = html::opening("Runs") + "<h1>Runs</h1>\n";
  if (runs.empty()) page += "<p>There is none yet.</p>\n";
  for (const auto& [experiment, own] : experiments) page += table(experiment, own);
  if (count > most_runs) page += fmt::format("<p>{} older runs are left out here.</p>\n", count - most_runs);
  const std::string path = folder + "/index.html";
  put_file(path, page + html::closing());
  return path;
}

}  // namespace tenon::track
