// Pages of runs: what is in them whatever the names hold, how large they grow, and what they may load.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <random>

#include "lib/track/report/html.hpp"
#include "tenon/track_report.hpp"
#include "tests/support/pages.hpp"

using namespace tenon::track;

namespace {

/// The page of a run in which every string that a user gives is one of next().
template <class Next>
std::string page_of_strings(const Root& root, const Next& next) {
  Run run = Experiment(next(), {.root = root.path})
                .start_run({.name = next(),
                            .params = {{next(), next()}},
                            .tags = {{next() + "t", next()}},
                            .environment = {{next() + "e", next()}},
                            .command_line = {next(), next()}});
  run.log(next(), std::vector<double>{1, 2, 3});
  const std::string both = next();
  run.log("epoch/" + both, std::vector<double>{1, 2});
  run.log("epoch/val_" + both, std::vector<double>{2, 1});
  run.log_confusion(next(), std::vector<std::string>{next(), "b"}, std::vector<std::int64_t>{3, 1, 0, 4});
  const std::string image = next();
  run.log_image(image, std::vector<std::uint8_t>(4, 7), 2, 2, 1, 0, next());
  run.fail(next());
  return text_of(write_report(RunView::open(run.folder())));
}
constexpr std::size_t strings_of_a_page = 17;
std::string page_with(const Root& root, const std::string& text) {
  return page_of_strings(root, [&] { return text; });
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
  // Every string another one, so that charts stand in another order: the same tags, in any.
  char letter = 'a';
  std::vector<std::string> names, expected = tags_of(page_of_strings(root, [&] { return std::string(3, letter++); }));
  std::sort(expected.begin(), expected.end());
  const auto next = [&] {
    std::string text = "x";
    for (int length = static_cast<int>(random() % 40); length-- > 0;) text += alphabet[random() % alphabet.size()];
    return names.emplace_back(text);
  };
  while (names.size() < 10000) {
    const Root of_its_own;
    const std::size_t first = names.size();
    std::vector<std::string> tags = tags_of(page_of_strings(of_its_own, next));
    std::sort(tags.begin(), tags.end());
    std::string shown;
    for (std::size_t i = first; i < names.size(); ++i) shown += html::escaped(names[i], 80) + "\n";
    INFO(shown);
    REQUIRE(names.size() - first == strings_of_a_page);
    REQUIRE(tags == expected);
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

TEST_CASE("images in a page are bounded", "[report]") {
  const Root root;
  std::filesystem::create_directory(root.path + "/images");
  RunView run;
  run.folder = root.path;
  const auto add = [&](const std::string& file, std::size_t bytes) {
    std::ofstream(root.path + "/images/" + file, std::ios::binary) << "\x89PNG" << std::string(bytes - 4, 'x');
    run.images.push_back({.name = "i", .file = "images/" + file, .caption = file, .step = 0});
  };
  add("large.png", 300000);
  for (int i = 0; i < 50; ++i) add("p" + std::to_string(i) + ".png", 200000);
  add("small.png", 1000);
  const std::string page = text_of(write_report(run));
  CHECK(page.size() < 6500000);
  CHECK(page.find("alt=\"p0.png\"") != std::string::npos);
  CHECK(page.find("alt=\"large.png\"") == std::string::npos);
  CHECK(page.find("alt=\"small.png\"") != std::string::npos);
  std::size_t shown = 0;
  for (std::size_t at = page.find("<img"); at != std::string::npos; at = page.find("<img", at + 1)) ++shown;
  CHECK(shown == 21);
  CHECK(page.find("<p>31 further images are left out here.</p>") != std::string::npos);
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
