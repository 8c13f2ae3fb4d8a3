// Pages of runs: what is in them whatever the names hold, how large they grow, and what they may load.
#include <cmath>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

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
  Run run = started(root);
  std::vector<double> values(9375);
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = 2.3 * std::exp(-static_cast<double>(i) / 800) + .01 * static_cast<double>(i % 7);
  for (const char* name : {"Loss", "Error", "a", "b", "c"}) run.log(name, values);
  const std::string path = write_report(RunView::open(run.folder()));
  const auto small = std::filesystem::file_size(path);
  CHECK(small < 200000);
  values.resize(500000, .5);
  run.log("long", values);
  (void)write_report(RunView::open(run.folder()));
  CHECK(std::filesystem::file_size(path) < small + 40000);
}

TEST_CASE("what is not finite is marked and leaves a gap", "[report]") {
  const Root root;
  Run run = started(root);
  run.log("loss", std::vector<double>{3, 2, NAN, INFINITY, 1});
  run.log("nothing", std::vector<double>{NAN, NAN});
  const std::string page = text_of(write_report(RunView::open(run.folder())));
  CHECK(page.find(">2 not finite<") != std::string::npos);
  // Two stretches: two points, then the dot of a single one.
  const std::size_t line = page.find("class=\"line c0\" d=\"M");
  REQUIRE(line != std::string::npos);
  const std::string path = page.substr(line, page.find("/>", line) - line);
  CHECK(std::ranges::count(path, 'M') == 2);
  CHECK(path.find("nan") == std::string::npos);
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

TEST_CASE("all runs have a page", "[report]") {
  const Root root;
  CHECK(text_of(write_index(root.path)).find("There is none yet.") != std::string::npos);
  for (int i = 0; i < 3; ++i) {
    Run run = started(root);
    run.log("loss", std::vector<double>{3, 2, 1});
    run.complete();
  }
  const std::string page = text_of(write_index(root.path));
  std::size_t links = 0;
  for (const std::string& tag : tags_of(page)) links += tag.starts_with("a href");
  CHECK(links == 3);
}
