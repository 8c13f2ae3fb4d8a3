// Charts of runs: where lines lie, what is marked, and that no number spoils them.
#include <algorithm>
#include <cmath>
#include <sstream>

#include "lib/track/report/chart.hpp"
#include "lib/track/report/scale.hpp"
#include "tests/support/pages.hpp"

using namespace tenon::track;

namespace {

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

}  // namespace

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
  // The mean has its right height from the first points on.
  const Metric even = metric("even", 500, [](std::size_t i) { return i % 2 == 0 ? 3. : 5.; });
  const auto smooth = numbers_of(path_of(chart("even", std::vector<Line>{{"even", &even}}), "line c0"));
  REQUIRE(smooth.size() > 600);
  // It is the mean of a 3 and, maybe, a 5 at first, 3 being at 181 and 4 at 102.
  CHECK(range(smooth).second < 182);
  CHECK(std::abs(smooth.back() - 102) < 12);
  // What hardly moves within a column is drawn as it is: the mean would lag behind.
  const Metric ramp = metric("ramp", 9375, [](std::size_t i) { return static_cast<double>(i); });
  const std::string straight = chart("ramp", std::vector<Line>{{"ramp", &ramp}});
  CHECK(straight.find(">9374</text>") != std::string::npos);
  CHECK(straight.find("smoothed") == std::string::npos);
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

TEST_CASE("labels of lines are text", "[report]") {
  const Metric m = metric("m", 3, [](std::size_t i) { return static_cast<double>(i); });
  const std::string plain = chart("a", std::vector<Line>{{"b", &m}, {"c", &m}});
  const std::string hostile = chart("<a>\"", std::vector<Line>{{"</text>", &m}, {"\"<b>'", &m}});
  CHECK(tags_of(hostile) == tags_of(plain));
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
