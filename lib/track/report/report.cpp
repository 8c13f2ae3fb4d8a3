// The page of one run, section by section.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

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

constexpr std::size_t most_charts = 60, most_images = 100, most_headlines = 12;
constexpr std::uint64_t most_image_bytes = 1 << 18, most_images_bytes = 1 << 22;
constexpr int refresh_seconds = 5;

std::string header(const RunView& run) {
  const std::int64_t end = run.ended > 0 ? run.ended : run.last_written;
  std::string out =
      fmt::format("<h1>{}</h1>\n<p>{} · {} · {} · {}</p>\n", isolated(run.name.empty() ? run.id : run.name, 200),
                  html::status(run.status), isolated(run.experiment, 200), html::moment(run.started),
                  html::duration(end - run.started));
  if (!run.reason.empty()) out += fmt::format("<p>{}</p>\n", isolated(run.reason));
  return out;
}

/// The last value of each metric but those of single minibatches.
std::string headlines(const RunView& run) {
  std::string out;
  std::size_t count = 0;
  for (const Metric& m : run.metrics) {
    if (m.name.starts_with("step/") || count == most_headlines) continue;
    out += fmt::format("<div><dt>{}</dt><dd>{}</dd></div>",
                       isolated(m.name.starts_with("epoch/") ? m.name.substr(6) : m.name, 60), short_number(m.last()));
    ++count;
  }
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
  if (count > most_charts) out += fmt::format("<p>{} further metrics are in log.jsonl.</p>", count - most_charts);
  return out.empty() ? "" : "<h2>Metrics</h2>\n<div class=\"charts\">\n" + out + "</div>\n";
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
    if (c.counts.size() != n * n || n > 100) continue;
    out += fmt::format(
        "<h2>Confusion: {}</h2>\n<div class=\"wide\"><table class=\"heat\"><caption>Rows are what is true, columns "
        "what the model said.</caption><tr><th></th>",
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

/// Only files that the log names inside the run's own folder of images, and of a sane size.
std::string images(const RunView& run) {
  std::string out, name;
  std::size_t count = 0;
  std::uint64_t bytes = 0;
  for (const ImageEntry& image : run.images) {
    const std::string file = image.file.starts_with("images/") ? image.file.substr(7) : "";
    if (file.empty() || file.find('/') != std::string::npos || file[0] == '.' || count == most_images) continue;
    std::string png;
    try {
      png = read_text(run.folder + "/images/" + file, most_image_bytes);
    } catch (const IoError&) {
      continue;
    }
    if (!png.starts_with("\x89PNG") || bytes + png.size() > most_images_bytes) continue;
    bytes += png.size();
    ++count;
    if (image.name != name || count == 1) {
      if (count > 1) out += "</div>\n";
      name = image.name;
      out += fmt::format("<h2>Images: {}</h2>\n<div class=\"images\">\n", isolated(name, 120));
    }
    out +=
        fmt::format("<figure><img alt=\"{}\" src=\"data:image/png;base64,{}\"><figcaption>{}</figcaption></figure>\n",
                    html::escaped(image.caption, 200), html::base64(png), isolated(image.caption, 200));
  }
  return count > 0 ? out + "</div>\n" : out;
}

std::string pairs(std::string_view title, const Pairs& list) {
  if (list.empty()) return "";
  std::string out = fmt::format("<h2>{}</h2>\n<div class=\"wide\"><table>\n", title);
  for (const auto& [name, value] : list)
    out += fmt::format("<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n", isolated(name, 200), isolated(value, 1000));
  return out + "</table></div>\n";
}

std::string command(const RunView& run) {
  if (run.command_line.empty()) return "";
  std::string words;
  for (const std::string& word : run.command_line) words += (words.empty() ? "" : " ") + isolated(word, 1000);
  return "<h2>Command</h2>\n<p><code>" + words + "</code></p>\n";
}

std::string files(const RunView& run) {
  const std::vector<FileEntry> list = run.files();
  if (list.empty()) return "";
  std::string out =
      "<h2>Files</h2>\n<div class=\"wide\"><table>\n<tr><th>name</th><th class=\"n\">size</th><th>SHA-256</th></tr>\n";
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
  page += header(run) + headlines(run) + charts(run) + confusions(run) + images(run) + pairs("Parameters", run.params) +
          pairs("Tags", run.tags) + pairs("Environment", run.environment) + command(run) + files(run);
  page += html::closing();
  const std::string path = run.folder + "/report.html";
  put_file(path, page);
  return path;
}

}  // namespace tenon::track
