// Pages of runs: what is in them whatever the names hold, how large they grow, and what they may load.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "lib/track/report/chart.hpp"
#include "lib/track/report/html.hpp"
#include "lib/track/report/scale.hpp"
#include "tenon/track_report.hpp"
#include "tests/support/catch.hpp"

using namespace tenon::track;

namespace {

std::string text_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

/// A folder of its own, gone at the end.
struct Root {
  std::string path = (std::filesystem::temp_directory_path() / "tenon_report_XXXXXX").string();
  Root() { REQUIRE(::mkdtemp(path.data()) != nullptr); }
  ~Root() { std::filesystem::remove_all(path); }
};

/// The tags of a page with the names of their attributes, in order. A page that is not well formed ends the test.
std::vector<std::string> tags_of(const std::string& page) {
  std::vector<std::string> tags;
  for (std::size_t at = page.find('<'); at != std::string::npos; at = page.find('<', at)) {
    if (page.compare(at, 7, "<style>") == 0) {
      at = page.find("</style>", at);
      continue;
    }
    std::string tag;
    bool quoted = false;
    for (++at; at < page.size() && (quoted || page[at] != '>'); ++at) {
      if (page[at] == '"') quoted = !quoted;
      if (!quoted && page[at] != '"') tag += page[at];
      REQUIRE((quoted || page[at] != '<'));
    }
    REQUIRE(at < page.size());
    tags.push_back(tag);
  }
  return tags;
}

/// A run in which every string that a user gives is `text`.
std::string page_with(const Root& root, const std::string& text) {
  Run run = Experiment(text, {.root = root.path})
                .start_run({.name = text,
                            .params = {{text, text}},
                            .tags = {{text + "t", text}},
                            .environment = {{text + "e", text}},
                            .command_line = {text, text}});
  run.log(text, std::vector<double>{1, 2, 3});
  run.log("epoch/" + text, std::vector<double>{1, 2});
  run.log("epoch/val_" + text, std::vector<double>{2, 1});
  run.log_confusion(text, std::vector<std::string>{text, "b"}, std::vector<std::int64_t>{3, 1, 0, 4});
  run.log_image(text, std::vector<std::uint8_t>(4, 7), 2, 2, 1, 0, text);
  run.fail(text);
  return text_of(write_report(RunView::open(run.folder())));
}

template <class Value>
Metric metric(const std::string& name, std::size_t count, const Value& value) {
  Metric m{.name = name, .points = {}};
  for (std::size_t i = 0; i < count; ++i) m.points.push_back({static_cast<std::int64_t>(i), value(i), 0});
  return m;
}

/// What a path of this class draws.
std::string path_of(const std::string& svg, const std::string& name) {
  const std::string start = "<path class=\"" + name + "\" d=\"";
  const std::size_t at = svg.find(start);
  REQUIRE(at != std::string::npos);
  return svg.substr(at + start.size(), svg.find('"', at + start.size()) - at - start.size());
}

/// Its coordinates, x and y in turn.
std::vector<double> numbers_of(std::string path) {
  std::ranges::replace_if(
      path, [](char c) { return c == 'M' || c == 'L' || c == 'Z'; }, ' ');
  std::istringstream in(path);
  std::vector<double> numbers;
  for (double value = 0; in >> value;) numbers.push_back(value);
  return numbers;
}

Run started(const Root& root) { return Experiment("e", {.root = root.path}).start_run({.name = "n"}); }

}  // namespace

TEST_CASE("no string of a user becomes markup", "[report]") {
  const Root root;
  // Without digits that a date could have: the pages differ in text alone.
  const std::vector<std::string> benign = tags_of(page_with(root, "name"));
  const std::vector<std::string> hostile{"<script>alert(1)</script>",
                                         "\"><img src=x onerror=alert(1)>",
                                         "' onload='x",
                                         "</title></style></svg><b>",
                                         "a\nb\r\t\x01\x7f",
                                         "\u202Eevil\u2066x",
                                         std::string(4000, '<'),
                                         "../../etc/passwd",
                                         "&lt;&amp;<!--",
                                         "\xff\xfe\xc0\x80 bytes",
                                         "<![CDATA[x]]>"};
  for (const std::string& text : hostile) {
    INFO(html::escaped(text, 80));
    CHECK(tags_of(page_with(root, text)) == benign);
  }
  std::mt19937 random(5);
  const std::string alphabet = "<>&\"'=/!-[]() ;:#%\\\n\t\x02\x7f\xe2\x80\xae\xc3\xa9\xffsvgscript";
  for (int i = 0; i < 200; ++i) {
    std::string text = "x";
    for (int length = static_cast<int>(random() % 40); length-- > 0;) text += alphabet[random() % alphabet.size()];
    INFO(html::escaped(text, 80));
    REQUIRE(tags_of(page_with(root, text)) == benign);
  }
  (void)write_index(root.path);
  for (const std::string& tag : tags_of(text_of(root.path + "/index.html"))) {
    CHECK_FALSE(tag.starts_with("script"));
    CHECK_FALSE(tag.starts_with("img"));
  }
}

TEST_CASE("a page loads nothing and runs nothing", "[report]") {
  const Root root;
  const std::string page = page_with(root, "name");
  CHECK(page.starts_with("<!DOCTYPE html>\n<html lang=\"en\">"));
  CHECK(page.find("content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\"") != std::string::npos);
  for (const char* word : {"<script", "http://", "https://", "@import", "url("}) {
    INFO(word);
    CHECK(page.find(word) == std::string::npos);
  }
}

TEST_CASE("a page follows a run until that ends", "[report]") {
  const Root root;
  Run run = started(root);
  const std::string path = write_report(RunView::open(run.folder()));
  CHECK(text_of(path).find("http-equiv=\"refresh\"") != std::string::npos);
  run.complete();
  CHECK(write_report(RunView::open(run.folder())) == path);
  CHECK(text_of(path).find("http-equiv=\"refresh\"") == std::string::npos);
  CHECK(text_of(path).find("completed") != std::string::npos);
}

TEST_CASE("the size of a page is bounded, not its points", "[report]") {
  const Root root;
  std::mt19937 random(7);
  std::normal_distribution<> noise(0, .3);
  RunView run;
  run.folder = root.path;
  run.name = "n";
  for (const char* name : {"Loss", "Error", "a", "b", "c"})
    run.metrics.push_back(
        metric(name, 9375, [&](std::size_t i) { return std::exp(-static_cast<double>(i) / 800 + noise(random)); }));
  const std::string path = write_report(run);
  const auto small = std::filesystem::file_size(path);
  CHECK(small < 150000);
  // More points, and points that are not finite or lie anywhere, in any order.
  run.metrics[0] = metric("Loss", 300000, [&](std::size_t) { return noise(random); });
  run.metrics[1] = metric("Error", 300000, [&](std::size_t i) { return i % 2 == 0 ? NAN : noise(random); });
  run.metrics[2] = metric("a", 300000, [](std::size_t) { return NAN; });
  for (Point& p : run.metrics[3].points) p.step = static_cast<std::int64_t>(random());
  for (Point& p : run.metrics[4].points)
    p.value = random() % 3 == 0 ? NAN : 1, p.step = static_cast<int>(random() % 50);
  CHECK(write_report(run) == path);
  CHECK(std::filesystem::file_size(path) < 2 * small);
}

TEST_CASE("a band has every peak, its line is smooth", "[report]") {
  const Metric m = metric("m", 9375, [](std::size_t i) { return i == 5000 ? 100. : static_cast<double>(i % 2); });
  const std::string svg = chart("m", std::vector<Line>{{"m", &m}});
  const auto band = numbers_of(path_of(svg, "band c0")), line = numbers_of(path_of(svg, "line c0"));
  REQUIRE(band.size() > 600);
  REQUIRE(line.size() > 600);
  const auto range = [](const std::vector<double>& xy) {
    double least = 1e9, most = -1e9;
    for (std::size_t i = 1; i < xy.size(); i += 2) least = std::min(least, xy[i]), most = std::max(most, xy[i]);
    return std::pair(least, most);
  };
  // y runs downwards: the peak is near the top of the chart, where the line comes but a little.
  CHECK(range(band).first < 30);
  CHECK(range(band).second > 180);
  CHECK(range(line).first > 170);
  CHECK(range(line).second < 188);
  // Of a constant the mean is the constant, from the first point on.
  const Metric same = metric("same", 500, [](std::size_t) { return 4.; });
  const auto flat = range(numbers_of(path_of(chart("same", std::vector<Line>{{"same", &same}}), "line c0")));
  CHECK(flat.first == flat.second);
}

TEST_CASE("what is not finite is marked and leaves a gap", "[report]") {
  const std::vector<double> few{3, 2, NAN, INFINITY, 1};
  const Metric loss = metric("loss", few.size(), [&](std::size_t i) { return few[i]; });
  const std::string page = chart("loss", std::vector<Line>{{"loss", &loss}});
  CHECK(page.find(">2 not finite<") != std::string::npos);
  // Two stretches: two points, then the dot of a single one.
  CHECK(std::ranges::count(path_of(page, "line c0"), 'M') == 2);
  CHECK(std::ranges::count(path_of(page, "lost"), 'M') == 2);

  const Metric nothing = metric("nothing", 3, [](std::size_t) { return NAN; });
  const std::string empty = chart("nothing", std::vector<Line>{{"nothing", &nothing}});
  CHECK(empty.find(">3 not finite<") != std::string::npos);
  CHECK(path_of(empty, "line c0").empty());
  CHECK(empty.find("last NaN") != std::string::npos);

  // Among many points too: a single one interrupts the line, many of them the band as well.
  const Metric many =
      metric("many", 5000, [](std::size_t i) { return i == 1000 || (i > 3000 && i < 4000) ? NAN : 1.; });
  const std::string svg = chart("many", std::vector<Line>{{"many", &many}});
  CHECK(svg.find(">1000 not finite<") != std::string::npos);
  CHECK(std::ranges::count(path_of(svg, "line c0"), 'M') >= 3);
  CHECK(std::ranges::count(path_of(svg, "band c0"), 'M') == 2);
}

TEST_CASE("a chart of any numbers has finite coordinates", "[report]") {
  constexpr double huge = 1.7e308, tiny = 5e-324;
  const std::vector<std::vector<double>> lists{{-huge, huge},  {huge, huge}, {0, tiny},     {tiny, huge}, {0, 0},
                                               {1, 1 + 1e-15}, {-1e9, -1e9}, {INFINITY, 1}, {5},          {}};
  for (const auto& values : lists) {
    for (const std::size_t times : {1u, 500u}) {
      for (const std::int64_t first : {std::int64_t{0}, std::int64_t{1} << 62, -(std::int64_t{1} << 62)}) {
        Metric m = metric("m", values.size() * times, [&](std::size_t i) { return values[i % values.size()]; });
        for (Point& p : m.points) p.step += first;
        const std::string svg = chart("m", std::vector<Line>{{"m", &m}}) + sparkline(m);
        INFO(svg.substr(0, 3000));
        for (const char* d : {"nan ", "nan\"", "inf ", "inf\"", "nanL", "infL", "nan<"})
          REQUIRE(svg.find(d) == std::string::npos);
        REQUIRE(std::ranges::count(svg, '<') == std::ranges::count(svg, '>'));
        REQUIRE(svg.size() < 40000);
      }
    }
  }
}

TEST_CASE("training and validation share a chart", "[report]") {
  const Root root;
  RunView run;
  run.folder = root.path;
  for (const char* name : {"epoch/loss", "epoch/val_loss", "epoch/lonely", "epoch/val_only", "loss", "accuracy"})
    run.metrics.push_back(metric(name, 3, [](std::size_t i) { return 1. / static_cast<double>(i + 1); }));
  run.metrics.back().points.resize(1);
  const std::string page = text_of(write_report(run));
  std::size_t charts = 0;
  for (const std::string& tag : tags_of(page)) charts += tag.starts_with("svg");
  CHECK(charts == 4);
  CHECK(page.find(">validation</text>") != std::string::npos);
  // A single figure has a headline of its own name.
  CHECK(page.find("<dt><bdi>accuracy</bdi></dt><dd>1</dd>") != std::string::npos);
}

TEST_CASE("runs of which little is known have a page", "[report]") {
  const Root root;
  RunView run;
  run.folder = root.path;
  run.images = {{.name = "gone", .file = "images/gone.png", .caption = ""},
                {.name = "outside", .file = "images/../../x.png", .caption = ""}};
  run.confusions = {{.name = "short", .labels = {"a", "b"}, .counts = {1, 2, 3}}};
  const std::string page = text_of(write_report(run));
  CHECK(page.find("Nothing has been logged.") != std::string::npos);
  CHECK(page.find("2 further images are left out") != std::string::npos);
  CHECK(page.find("<img") == std::string::npos);
  CHECK(page.find("<td class=\"h") == std::string::npos);
  CHECK(tags_of(page).back() == "/html");
  // Nothing is left beside it.
  CHECK(std::distance(std::filesystem::directory_iterator(root.path), std::filesystem::directory_iterator()) == 1);
}

TEST_CASE("a run whose log is torn has a page of what is whole", "[report]") {
  const Root root;
  std::string folder;
  {
    Run run = started(root);
    run.log("loss", std::vector<double>{3, 2, 1});
    run.complete();
    folder = run.folder();
  }
  const std::string whole = text_of(folder + "/log.jsonl");
  for (std::size_t bytes = 0; bytes < whole.size(); bytes += 7) {
    std::ofstream(folder + "/log.jsonl", std::ios::binary | std::ios::trunc) << whole.substr(0, bytes);
    const std::string page = text_of(write_report(RunView::open(folder)));
    REQUIRE(tags_of(page).back() == "/html");
    const bool has_loss = bytes > whole.find("[3");
    if (!has_loss) CHECK(page.find("Nothing has been logged.") != std::string::npos);
  }
  std::ofstream(folder + "/log.jsonl", std::ios::binary | std::ios::trunc) << whole << "{\"t\":12,\"na";
  CHECK(text_of(write_report(RunView::open(folder))).find("last 1, 3 values") != std::string::npos);
}

TEST_CASE("ticks are round numbers", "[report]") {
  const auto texts = [](const Scale& s, int wanted) {
    std::string all;
    for (const Tick& t : ticks_of(s, wanted)) all += (all.empty() ? "" : " ") + t.text;
    return all;
  };
  CHECK(texts({.low = 0, .high = 2.4}, 4) == "0 0.5 1 1.5 2");
  CHECK(texts({.low = -0.35, .high = 0.35}, 4) == "−0.2 0 0.2");
  CHECK(texts({.low = 1e-3, .high = 20, .logarithmic = true}, 4) == "0.001 0.01 0.1 1 10");
  CHECK(scale_of(5, 5, 0, 100).low < 5);
  CHECK(scale_of(5, 5, 0, 100).high > 5);
  CHECK(scale_of(0.001, 10, 0, 100).logarithmic);
  CHECK(short_number(0) == "0");
  CHECK(short_number(12000) == "12k");
  CHECK(short_number(12500) == "12.5k");
  CHECK(short_number(43210.7) == "43211");
  CHECK(short_number(9999.7) == "10000");
  CHECK(short_number(-3.4e-7) == "−3.4e−7");
  CHECK(short_number(0.0216949, 3) == "0.0217");
  CHECK(texts({.low = 0.98764, .high = 0.9877}, 4) == "0.98764 0.98766 0.98768 0.98770");
  CHECK(texts({.low = 9e15, .high = 9e15 + 2}, 4).find("9e15") == 0);
  CHECK(short_number(0.98765) == "0.9877");
}

TEST_CASE("base64 and addresses", "[report]") {
  CHECK(html::base64("") == "");
  CHECK(html::base64("f") == "Zg==");
  CHECK(html::base64("fo") == "Zm8=");
  CHECK(html::base64("foo") == "Zm9v");
  CHECK(html::base64("foobar") == "Zm9vYmFy");
  CHECK(html::address("a b/<c>.html") == "a%20b/%3Cc%3E.html");
}

TEST_CASE("what cannot be seen is shown", "[report]") {
  CHECK(html::escaped("a\u202Eb\u200Bc\u2066") == "a[U+202E]b[U+200B]c[U+2066]");
  CHECK(html::escaped("\n\x1b\x7f") == "&#x240A;&#x241B;&#x2421;");
  CHECK(html::escaped("é שלום 日本 👩‍🔬") == "é שלום 日本 👩‍🔬");
  CHECK(html::isolated("<&\"'>") == "<bdi>&lt;&amp;&quot;&#39;&gt;</bdi>");
  CHECK(html::escaped("abcdef", 3) == "abc…");
}

TEST_CASE("all runs have a page", "[report]") {
  const Root root;
  CHECK(text_of(write_index(root.path)).find("There is none yet.") != std::string::npos);
  for (int i = 0; i < 3; ++i) {
    Run run = started(root);
    run.log("loss", std::vector<double>{3, 2, 1});
    run.log("accuracy", .5 + i);
    run.complete();
    // One without a page has no link to it.
    if (i != 1) (void)write_report(RunView::open(run.folder()));
  }
  const std::string page = text_of(write_index(root.path));
  std::size_t links = 0, sparks = 0;
  for (const std::string& tag : tags_of(page)) {
    links += tag.starts_with("a href");
    sparks += tag.starts_with("svg");
  }
  CHECK(links == 2);
  CHECK(sparks == 3);
  for (const RunView& run : RunView::all(root.path)) CHECK(page.find(run.id) != std::string::npos);
  CHECK(page.find(">2.5</td>") != std::string::npos);
  for (std::size_t at = page.find("href=\""); at != std::string::npos; at = page.find("href=\"", at + 1)) {
    const std::string link = page.substr(at + 6, page.find('"', at + 6) - at - 6);
    CHECK(std::filesystem::exists(root.path + "/" + link));
  }
}
