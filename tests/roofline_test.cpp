// The plan's table with times: run by itself, since TENON_VERBOSE=time counts for the whole process.
#include <algorithm>
#include <sstream>

#include "tenon/backend.hpp"
#include "tenon/log.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/models.hpp"

using namespace tenon;
using namespace tenon::test;

namespace {

int lines_over(const std::string& text, std::size_t columns) {
  std::istringstream in(text);
  int found = 0;
  for (std::string line; std::getline(in, line);) found += line.size() > columns;
  return found;
}

}  // namespace

TEST_CASE("nothing is measured unless TENON_VERBOSE=time asks for it", "[roofline]") {
  if (detail::verbose("time")) return;
  Program p = compile(mlp(), image_options(false));
  Loader loader(digits(), {.batch_size = 32, .seed = 1, .prefetch = false});
  loader.start_epoch(0);
  (void)p.step(*loader.next());
  for (const PlanEntry& e : p.plan(Program::Mode::train, 32)) {
    CHECK(e.microseconds == 0);
    CHECK(e.roofline == 0);
    CHECK(e.precision == "fp32");
  }
  CHECK(p.plan_table(Program::Mode::train, 32).find("roofline") == std::string::npos);
}

TEST_CASE("a step's roofline is its least time at the measured peaks over its time", "[.timed]") {
  REQUIRE(detail::verbose("time"));
  std::string logged;
  set_log([&](LogLevel, const std::string& text) { logged += text; });
  const Peak peak = backend("cpu").peak(2);
  CHECK(peak.flops > 1e8);
  CHECK(peak.bandwidth > 1e8);
  CHECK(backend("cpu").peak(2).flops == peak.flops);  // measured once
  CHECK(backend("cpu").peak(2).bandwidth == peak.bandwidth);
  const nn::Sequential net = cnn();
  {
    CompileOptions o = image_options(true);
    o.run.threads = 2;
    Program p = compile(net, o);
    Loader loader(digits(), {.batch_size = 16, .seed = 1, .prefetch = false});
    loader.start_epoch(0);
    for (int i = 0; i < 3; ++i) (void)p.step(*loader.next());
    double floors = 0, total = 0;
    for (const PlanEntry& e : p.plan(Program::Mode::train, 16)) {
      INFO(e.op);
      REQUIRE(e.microseconds > 0);
      const double floor = 1e6 * std::max(e.flops / peak.flops, e.traffic / peak.bandwidth);
      CHECK(e.roofline == Approx(floor / e.microseconds));
      CHECK(e.roofline > 0);
      floors += floor;
      total += e.microseconds;
    }
    const std::string table = p.plan_table(Program::Mode::train, 16);
    INFO(table);
    CHECK(lines_over(table, 120) == 0);
    CHECK(table.find("% roof") != std::string::npos);
    char last[200];
    std::snprintf(last, sizeof last, "least times together %.0f us, steps together %.0f us: %.1f %% of the roofline\n",
                  floors, total, 100 * floors / total);
    CHECK(table.ends_with(last));
  }
  CHECK(logged.find("time: train at batch 16\n") != std::string::npos);
  logged.clear();
  (void)Model(net).predictor({.threads = 2})(Array(DType::f32, {5, 28, 28, 1}));
  CHECK(logged.find("time: predict at batch 5\n") != std::string::npos);
  CHECK(logged.find("% of the roofline\n") != std::string::npos);
  set_log({});
}
