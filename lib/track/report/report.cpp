// The page of one run, section by section.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "lib/track/files.hpp"
#include "lib/track/report/chart.hpp"
#include "lib/track/report/html.hpp"
#include "lib/track/report/page.hpp"
#include "lib/track/report/scale.hpp"
#include "tenon/error.hpp"
#include "tenon/track_report.hpp"

namespace tenon::track {
namespace {

using html::isolated;

constexpr std::size_t most_charts = 60, most_rows = 500, most_images = 100, most_headlines = 12, most_labels = 100;
constexpr std::size_t most_image_bytes = 1 << 18, most_images_bytes = 1 << 22;
constexpr int refresh_seconds = 5;

std::string header(const RunView& run) {
  const std::int64_t end = run.ended > 0 ? run.ended : run.last_written;
  std::string out = fmt::format(
      "<nav><a href=\"../../index.html\">All runs</a></nav>\n<header><h1>{}</h1>\n<p class=\"facts\">{}"
      "<span>experiment {}</span><span>run {}</span><span>started {}</span><span>{} {}</span></p>\n",
      isolated(run.name.empty() ? run.id : run.name, 200), html::status(run.status), isolated(run.experiment, 200),
      isolated(run.id, 80), html::moment(run.started), run.ended > 0 ? "took" : "so far",
      html::duration(run.started > 0 && end > 0 ? end - run.started : -1));
  if (!run.reason.empty()) out += fmt::format("<p class=\"reason\">{}</p>\n", isolated(run.reason));
  return out + "</header>\n";
}

/// The last values: of single figures first, then of those of epochs, then of those of steps where none of an epoch is.
std::string headlines(const RunView& run) {
  std::vector<const Metric*> list;
  for (const Metric& m : run.metrics)
    if (!html::epochs_tell(run, m)) list.push_back(&m);
  const auto rank = [](const Metric* m) { return m->points.size() == 1 ? 0 : m->name.starts_with("epoch/") ? 1 : 2; };
  std::ranges::stable_sort(list, {}, rank);
  std::string out;
  for (const Metric* m : std::span(list).first(std::min(list.size(), most_headlines)))
    out += fmt::format("<div><dt>{}</dt><dd>{}</dd></div>", isolated(html::short_name(run, *m), 60),
                       short_number(m->last()));
  return out.empty() ? "" : "<dl class=\"figures\">" + out + "</dl>\n";
}

/// Training and validation of one figure share a chart.
std::string charts(const RunView& run) {
  std::string out;
  std::size_t count = 0;
  for (const Metric& m : run.metrics) {
    if (m.points.size() < 2) continue;
    const bool validation = m.name.starts_with("epoch/val_");
    if (validation && run.metric("epoch/" + m.name.substr(10)) != nullptr) continue;
    if (++count > most_charts) continue;
    std::vector<Line> lines{{"training", &m}};
    if (m.name.starts_with("epoch/"))
      if (const Metric* other = run.metric("epoch/val_" + m.name.substr(6));
          other != nullptr && other->points.size() > 1)
        lines.push_back({"validation", other});
    if (lines.size() == 1) lines[0].label = m.name;
    out += chart(m.name, lines) + "\n";
  }
  if (out.empty()) return "";
  out = "<h2>Metrics</h2>\n<div class=\"charts\">\n" + out + "</div>\n";
  if (count > most_charts) out += fmt::format("<p>{} further metrics have no chart here.</p>\n", count - most_charts);
  return out;
}

/// Figures of every metric; also of those with one value, which have no chart.
std::string table_of_metrics(const RunView& run) {
  if (run.metrics.empty()) return "<p>Nothing has been logged.</p>\n";
  std::string out =
      "<h2>Figures</h2>\n<div class=\"wide\" tabindex=\"0\"><table class=\"numbers\">\n<tr><th>metric</th>"
      "<th class=\"n\">values</th><th class=\"n\">first</th><th class=\"n\">last</th><th class=\"n\">least</th>"
      "<th class=\"n\">most</th></tr>\n";
  for (const Metric& m : std::span(run.metrics).first(std::min(run.metrics.size(), most_rows))) {
    if (m.points.empty()) continue;
    double least = NAN, most = NAN;  // fmin and fmax pass over what is no number
    for (const Point& p : m.points) least = std::fmin(least, p.value), most = std::fmax(most, p.value);
    out += fmt::format("<tr><th scope=\"row\">{}</th>", isolated(m.name, 80));
    out += fmt::format("<td class=\"n\">{}</td>", m.points.size());
    for (const double value : {m.points.front().value, m.last(), least, most})
      out += fmt::format("<td class=\"n\">{}</td>", short_number(value));
    out += "</tr>\n";
  }
  out += "</table></div>\n";
  if (run.metrics.size() > most_rows)
    out += fmt::format("<p>{} further metrics are left out here.</p>\n", run.metrics.size() - most_rows);
  return out;
}

std::string heat_class(std::int64_t count, std::int64_t of) {
  if (count <= 0 || of <= 0) return "h0";
  // By decades: mistakes are few beside what is right, and are what one looks for.
  const double share = static_cast<double>(count) / static_cast<double>(of);
  return fmt::format("h{}", share >= .5 ? 5 : share >= .05 ? 4 : share >= .01 ? 3 : share >= .003 ? 2 : 1);
}

std::string confusions(const RunView& run) {
  std::string out;
  for (const ConfusionEntry& c : run.confusions) {
    const std::size_t n = c.labels.size();
    if (n == 0 || c.counts.size() != n * n) continue;
    if (n > most_labels) {
      out += fmt::format("<h2>Confusion: {}</h2>\n<p>{} labels are too many for a table here.</p>\n",
                         isolated(c.name, 120), n);
      continue;
    }
    out += fmt::format(
        "<h2>Confusion: {}</h2>\n<p>Rows are what is true, columns what the model said.</p>\n<div class=\"wide\" "
        "tabindex=\"0\"><table class=\"heat\"><tr><th></th>",
        isolated(c.name, 120));
    for (const std::string& label : c.labels) out += fmt::format("<th scope=\"col\">{}</th>", isolated(label, 24));
    out += "</tr>\n";
    for (std::size_t row = 0; row < n; ++row) {
      std::int64_t sum = 0;
      for (std::size_t i = 0; i < n; ++i) sum += std::max<std::int64_t>(0, c.counts[row * n + i]);
      out += fmt::format("<tr><th scope=\"row\">{}</th>", isolated(c.labels[row], 24));
      for (std::size_t i = 0; i < n; ++i)
        out += fmt::format("<td class=\"{}\">{}</td>", heat_class(c.counts[row * n + i], sum), c.counts[row * n + i]);
      out += "</tr>\n";
    }
    out += "</table></div>\n";
  }
  return out;
}

/// The bytes of an image; only of a file that the log names inside the run's own folder of images, and of a sane size.
std::string png_of(const RunView& run, const ImageEntry& image) {
  const std::string file = image.file.starts_with("images/") ? image.file.substr(7) : "";
  if (file.empty() || file.find('/') != std::string::npos || file[0] == '.') return "";
  try {
    const std::string png = read_text(run.folder + "/images/" + file, most_image_bytes);
    return png.starts_with("\x89PNG") ? png : "";
  } catch (const IoError&) {
    return "";
  }
}

/// Images of one name stand together, in the order in which that name was logged first.
std::string images(const RunView& run) {
  std::vector<std::pair<std::string, std::string>> groups;
  std::size_t shown = 0, bytes = 0;
  for (const ImageEntry& image : run.images) {
    if (shown == most_images) break;
    const std::string png = png_of(run, image);
    if (png.empty() || bytes + png.size() > most_images_bytes) continue;
    bytes += png.size();
    ++shown;
    auto group = std::ranges::find(groups, image.name, &std::pair<std::string, std::string>::first);
    if (group == groups.end()) group = groups.insert(groups.end(), {image.name, ""});
    const std::string caption =
        image.caption.empty() ? fmt::format("step {}", image.step) : html::escaped(image.caption, 200);
    group->second += fmt::format(
        "<figure><img alt=\"{0}\" src=\"data:image/png;base64,{1}\"><figcaption><bdi>{0}</bdi></figcaption></figure>\n",
        caption, html::base64(png));
  }
  std::string out;
  for (const auto& [name, figures] : groups)
    out += fmt::format("<h2>Images: {}</h2>\n<div class=\"images\">\n{}</div>\n", isolated(name, 120), figures);
  if (shown < run.images.size())
    out += fmt::format("<p>{} further images are left out here.</p>\n", run.images.size() - shown);
  return out;
}

std::string pairs(std::string_view title, const Pairs& list) {
  if (list.empty()) return "";
  std::string out = fmt::format("<h2>{}</h2>\n<div class=\"wide\" tabindex=\"0\"><table class=\"pairs\">\n", title);
  for (const auto& [name, value] : list)
    out += fmt::format("<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n", isolated(name, 200), isolated(value, 1000));
  return out + "</table></div>\n";
}

std::string command(const RunView& run) {
  if (run.command_line.empty()) return "";
  std::string words;
  for (const std::string& word : run.command_line) words += (words.empty() ? "" : " ") + isolated(word, 1000);
  return "<h2>Command</h2>\n<p class=\"command\"><code>" + words + "</code></p>\n";
}

std::string files(const RunView& run) {
  const std::vector<FileEntry> list = run.files();
  if (list.empty()) return "";
  std::string out =
      "<h2>Files</h2>\n<div class=\"wide\" tabindex=\"0\"><table class=\"files\">\n<tr><th>name</th><th "
      "class=\"n\">size</th><th>SHA-256</th></tr>\n";
  for (const FileEntry& f : list)
    out += fmt::format("<tr><td>{}</td><td class=\"n\">{}</td><td><code title=\"{}\">{}</code></td></tr>\n",
                       isolated(f.name, 300), html::size(f.bytes), html::escaped(f.sha256, 64),
                       html::escaped(f.sha256, 12));
  return out + "</table></div>\n";
}

}  // namespace

std::string write_report(const RunView& run) {
  std::string page = html::opening((run.name.empty() ? run.id : run.name) + " – " + run.experiment,
                                   run.status == Status::running ? refresh_seconds : 0);
  page += header(run) + headlines(run) + charts(run) + table_of_metrics(run) + confusions(run) + images(run) +
          pairs("Parameters", run.params) + pairs("Tags", run.tags) + pairs("Environment", run.environment) +
          command(run) + files(run);
  page += html::closing();
  const std::string path = run.folder + "/report.html";
  put_file(path, page);
  return path;
}

}  // namespace tenon::track
