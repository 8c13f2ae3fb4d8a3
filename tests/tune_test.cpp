// Rows chosen by measurement: on a made-up device whose rows differ in speed and class, in a file, and on the CPU, where
// fp32 keeps its bits.
#include <omp.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "lib/runtime/plan.hpp"
#include "lib/runtime/tune.hpp"
#include "tenon/backend.hpp"
#include "tenon/error.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/models.hpp"

using namespace tenon;
using namespace tenon::test;
namespace fs = std::filesystem;

namespace {

std::int64_t size_of_problem(const Call& call) { return *static_cast<const std::int64_t*>(call.state); }
void quick(const Call& call) {
  const auto* x = static_cast<const float*>(call.in[0]);
  auto* y = static_cast<float*>(call.out[0]);
  for (std::int64_t i = 0; i < size_of_problem(call); ++i) y[i] = std::max(x[i], 0.f);
}
template <int microseconds>
void slow(const Call& call) {
  const double end = omp_get_wtime() + 1e-6 * microseconds;
  quick(call);
  while (omp_get_wtime() < end) {
  }
}
int runs = 0;
void counted(const Call& call) {
  ++runs;
  slow<300>(call);
}
template <RunFn run>
Bound bind_any(const Problem& p, const Kernel&) {
  return make_step(run, p.in[0].shape.elements());
}
Bound refuse(const Problem&, const Kernel&) { return Refusal{"expects nothing that there is"}; }

/// A device with rows for `unary` alone.
class MadeUpDevice final : public Backend {
 public:
  void add(std::string_view provider, Bound (*bind)(const Problem&, const Kernel&), bool canonical = true,
           Precision precision = Precision::fp32, bool naive = false) {
    rows_.push_back({op::kind_of<op::Unary>, provider, canonical, naive, {}, bind, nullptr, precision});
  }
  [[nodiscard]] std::string name() const override { return "test"; }
  [[nodiscard]] std::string description() const override { return "made up"; }
  [[nodiscard]] const KernelTable& kernels() const override { return rows_; }
  [[nodiscard]] int default_threads() const override { return 1; }
  [[nodiscard]] bool canonical() const override { return true; }
  [[nodiscard]] Peak peak(int) const override { return {1e9, 1e9}; }

 private:
  KernelTable rows_;
};

/// The usual one: the first row is slow, the second quick.
struct TwoRows {
  TwoRows() {
    device.add("test.slow", bind_any<slow<400>>);
    device.add("test.quick", bind_any<quick>);
  }
  MadeUpDevice device;
};

/// Rows that relus of these sizes run on.
std::vector<std::string> rows_of_relus(Backend& device, const Options& run,
                                       const std::vector<std::int64_t>& sizes = {100}) {
  Graph g;
  for (const std::int64_t n : sizes) g.outputs.push_back({"y", relu(g.input("x", {DType::f32, {n}})).id()});
  const RowSet rows(device, run);
  const std::unique_ptr<Tuner> tuner = make_tuner(device, rows, run);
  std::vector<std::string> names;
  for (const PlanStep& s : make_plan(g, rows, tuner.get()).steps) names.push_back(row_name(*s.row));
  return names;
}
std::string row_of_relu(Backend& device, const Options& run) { return rows_of_relus(device, run).front(); }

/// A folder of this test's own, gone afterwards.
class Folder {
 public:
  Folder() : path_(fs::temp_directory_path() / ("tenon_tune_" + std::to_string(::getpid()))) {
    fs::create_directories(path_);
  }
  ~Folder() { fs::remove_all(path_); }
  [[nodiscard]] std::string file(const std::string& name) const { return (path_ / name).string(); }

 private:
  fs::path path_;
};

std::string content(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
void put(const std::string& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }
void edit(const std::string& path, const std::function<void(nlohmann::json&)>& change) {
  nlohmann::json j = nlohmann::json::parse(content(path));
  change(j);
  put(path, j.dump());
}

/// Warnings while it lives.
class Warnings {
 public:
  Warnings() {
    set_log([this](LogLevel level, const std::string& text) {
      if (level == LogLevel::warning) all += text + "\n";
    });
  }
  ~Warnings() { set_log({}); }
  std::string all;
};

}  // namespace

TEST_CASE("without tuning the first row runs, with it the fastest", "[tune]") {
  TwoRows two;
  MadeUpDevice& device = two.device;
  CHECK(row_of_relu(device, {}) == "test.slow");
  CHECK(row_of_relu(device, {.tune = {.measure = true}}) == "test.quick");
  CHECK(rows_of_relus(device, {.tune = {.measure = true}}, {7, 100, 7, 5000}) ==
        std::vector<std::string>(4, "test.quick"));
}

TEST_CASE("each problem is timed once", "[tune]") {
  MadeUpDevice device;
  device.add("test.a", bind_any<counted>);
  device.add("test.b", bind_any<slow<300>>);
  runs = 0;
  (void)rows_of_relus(device, {.tune = {.measure = true}}, {100, 100, 100, 100});
  CHECK(runs >= 2);
  CHECK(runs <= 7);  // to warm up, to see how long it takes, and five turns
}

TEST_CASE("only rows of the program's class take part", "[tune]") {
  MadeUpDevice device;  // far apart, so that other work on the machine does not change who is quicker
  device.add("test.a", bind_any<slow<2000>>, false, Precision::tf32);
  device.add("test.a", bind_any<slow<4000>>);
  device.add("test.b", bind_any<slow<200>>);
  device.add("test.loose", bind_any<slow<20>>, false);
  device.add("reference", bind_any<quick>);
  device.add("test.naive", bind_any<quick>, true, Precision::fp32, true);
  // fp32: canonical rows alone, so that no bit can change.
  CHECK(row_of_relu(device, {.tune = {.measure = true}}) == "test.b");
  CHECK(row_of_relu(device, {.precision = "tf32", .tune = {.measure = true}}) == "test.loose");

  MadeUpDevice two_of_one;  // rows of one provider are told apart by their class
  two_of_one.add("test.a", bind_any<slow<60>>, false, Precision::tf32);
  two_of_one.add("test.a", bind_any<slow<4000>>);
  CHECK(row_of_relu(two_of_one, {.precision = "tf32", .tune = {.measure = true}}) == "test.a/tf32");
  CHECK(row_of_relu(two_of_one, {.tune = {.measure = true}}) == "test.a");

  MadeUpDevice last_resort;  // a naive row where no other takes the problem
  last_resort.add("test.a", refuse);
  last_resort.add("test.naive", bind_any<slow<60>>, true, Precision::fp32, true);
  last_resort.add("reference", bind_any<quick>);
  CHECK(row_of_relu(last_resort, {.tune = {.measure = true}}) == "test.naive");
}

TEST_CASE("a provider that the user names is not overruled", "[tune]") {
  TwoRows two;
  MadeUpDevice& device = two.device;
  for (const char* providers : {"test.slow", "unary=test.slow", "relu=test.slow"})
    CHECK(row_of_relu(device, {.providers = providers, .tune = {.measure = true}}) == "test.slow");
  CHECK(row_of_relu(device, {.providers = "conv2d=test.slow", .tune = {.measure = true}}) == "test.quick");

  CompileOptions o = image_options(true);
  o.run.precision = "tf32";
  o.run.providers = "conv2d=cpu.eigen";
  o.run.fuse = false;  // cpu.eigen takes no epilogue
  o.run.tune.measure = true;
  Program p = compile(cnn(), o);
  for (const PlanEntry& e : p.plan(Program::Mode::predict, 4)) CHECK((e.op != "conv2d" || e.provider == "cpu.eigen"));
}

TEST_CASE("choices go to a file and come back from it", "[tune]") {
  TwoRows two;
  MadeUpDevice& device = two.device;
  const Folder folder;
  const std::string path = folder.file("tune.json"), other = folder.file("other.json");
  CHECK(row_of_relu(device, {.tune = {.measure = true, .write = path}}) == "test.quick");
  const nlohmann::json j = nlohmann::json::parse(content(path));
  CHECK(j["device"] == "test: made up");
  CHECK(j["threads"] == 1);
  CHECK(j["precision"] == "fp32");
  REQUIRE(j["choices"].size() == 1);
  CHECK(j["choices"][0]["problem"] == "unary f32(100) -> f32(100) {relu}");
  CHECK(j["choices"][0]["row"] == "test.quick");
  CHECK(j["choices"][0]["us"]["test.slow"] >= 400);
  CHECK(j["choices"][0]["us"]["test.quick"] < 400);

  // What the file says counts, with and without measuring; the rest is timed, or left to the first row.
  CHECK(row_of_relu(device, {.tune = {.read = path}}) == "test.quick");
  edit(path, [](nlohmann::json& f) { f["choices"][0]["row"] = "test.slow"; });
  CHECK(row_of_relu(device, {.tune = {.read = path}}) == "test.slow");
  CHECK(rows_of_relus(device, {.tune = {.measure = true, .read = path, .write = other}}, {100, 64}) ==
        std::vector<std::string>{"test.slow", "test.quick"});
  CHECK(rows_of_relus(device, {.tune = {.read = other}}, {64, 100, 32}) ==
        std::vector<std::string>{"test.quick", "test.slow", "test.slow"});
  CHECK(nlohmann::json::parse(content(other))["choices"].size() == 2);
  // Nothing new: the file stays as it is; another one gets a copy.
  fs::remove(other);
  CHECK(row_of_relu(device, {.tune = {.measure = true, .read = path, .write = path}}) == "test.slow");
  CHECK_FALSE(fs::exists(path + ".prev"));
  CHECK(row_of_relu(device, {.tune = {.measure = true, .read = path, .write = other}}) == "test.slow");
  CHECK(nlohmann::json::parse(content(other))["choices"] == nlohmann::json::parse(content(path))["choices"]);
}

TEST_CASE("a file of another machine, thread count, precision, choice or version is left aside with a warning",
          "[tune]") {
  TwoRows two;
  MadeUpDevice& device = two.device;
  const Folder folder;
  const std::string path = folder.file("tune.json");
  const auto rewrite = [&](const char* field, const nlohmann::json& value) {
    (void)row_of_relu(device, {.tune = {.measure = true, .write = path}});
    edit(path, [&](nlohmann::json& f) {
      f[field] = value;
      f["choices"] = "another form";  // of a version that we do not know
    });
  };
  const std::pair<const char*, nlohmann::json> changes[] = {{"device", "test: another"},
                                                            {"threads", 2},
                                                            {"precision", "tf32"},
                                                            {"providers", "*=test.slow"},
                                                            {"library", "99.0"}};
  for (const auto& [field, value] : changes) {
    INFO(field);
    rewrite(field, value);
    Warnings warnings;
    CHECK(row_of_relu(device, {.tune = {.read = path}}) == "test.slow");
    CHECK(warnings.all.find("[tune] " + path + " is left aside: expected") == 0);
    CHECK(row_of_relu(device, {.tune = {.measure = true, .read = path, .write = path}}) == "test.quick");
    CHECK(warnings.all.find("timed anew") != std::string::npos);
    const std::string both = warnings.all;
    CHECK(row_of_relu(device, {.tune = {.read = path}}) == "test.quick");  // written for this machine meanwhile
    CHECK(warnings.all == both);
  }
}

TEST_CASE("any bytes give choices or a typed error", "[tune]") {
  TwoRows two;
  MadeUpDevice& device = two.device;
  const Folder folder;
  const std::string path = folder.file("tune.json"), broken = folder.file("broken.json");
  (void)rows_of_relus(device, {.tune = {.measure = true, .write = path}}, {100, 5});
  const std::string whole = content(path);
  int refused = 0, taken = 0;
  const auto attempt = [&](const std::string& text) {
    put(broken, text);
    try {
      (void)rows_of_relus(device, {.tune = {.read = broken}}, {100, 5});
      ++taken;
    } catch (const DataError& e) {
      const std::string message = e.what();
      const bool good = message.starts_with("[tune] " + broken) && message.find('\n') == std::string::npos;
      if (!good) FAIL_CHECK(message);
      ++refused;
    }
  };
  const Warnings silent;
  for (std::size_t n = 0; n + 2 < whole.size(); ++n) attempt(whole.substr(0, n));
  CHECK(taken == 0);
  std::mt19937 rng(1);
  for (int i = 0; i < 2000; ++i) {
    std::string text = whole;
    for (std::uint32_t k = 0; k <= rng() % 3; ++k) text[rng() % text.size()] = static_cast<char>(rng());
    attempt(text);
  }
  CHECK(refused > 1000);
  CHECK(taken > 10);

  const auto refusal = [&](const std::string& text) {
    put(broken, text);
    try {
      (void)row_of_relu(device, {.tune = {.read = broken}});
    } catch (const DataError& e) {
      return std::string(e.what());
    }
    return std::string("accepted");
  };
  const auto with = [&](const std::function<void(nlohmann::json&)>& change) {
    nlohmann::json j = nlohmann::json::parse(whole);
    change(j);
    return refusal(j.dump());
  };
  using Catch::Contains;
  CHECK_THAT(refusal(std::string(100000, '[')), Contains("levels of JSON"));
  CHECK_THAT(refusal(std::string(17 << 20, ' ')), Contains("at most 16777216 bytes"));
  CHECK_THAT(refusal("[]"), Contains("expected an object with 'library', found array"));
  CHECK_THAT(with([](auto& j) { j.erase("threads"); }), Contains("the field 'threads', found none"));
  CHECK_THAT(with([](auto& j) { j["threads"] = -1; }), Contains("number of threads"));
  CHECK_THAT(with([](auto& j) { j["device"] = 3; }), Contains("a string for 'device', found number"));
  CHECK_THAT(with([](auto& j) { j["choices"] = 3; }), Contains("an array for 'choices'"));
  CHECK_THAT(with([](auto& j) { j["choices"][0]["us"]["test.slow"] = -2; }), Contains("microseconds for 'test.slow'"));
  CHECK_THAT(with([](auto& j) { j["choices"][1] = j["choices"][0]; }), Contains("no problem twice"));
  CHECK_THAT(with([](auto& j) {
               for (auto& c : j["choices"]) c["row"] = "test.none";
             }),
             Contains("expects one of test.slow, test.quick, found test.none"));
}

TEST_CASE("a tune file that cannot be read or written is an error", "[tune]") {
  TwoRows two;
  MadeUpDevice& device = two.device;
  const Folder folder;
  CHECK_THROWS_AS(row_of_relu(device, {.tune = {.read = folder.file("none.json")}}), IoError);
  CHECK_THROWS_AS(row_of_relu(device, {.tune = {.read = folder.file(".")}}), IoError);
  CHECK_THROWS_AS(row_of_relu(device, {.tune = {.measure = true, .write = folder.file("none/tune.json")}}), IoError);
  CHECK_THROWS_AS(row_of_relu(device, {.tune = {.write = folder.file("tune.json")}}), UsageError);
}

TEST_CASE("fp32 has the same bits tuned and not", "[tune][bits]") {
  const Folder folder;
  for (const bool convolutional : {false, true}) {
    const int steps = convolutional ? 3 : 8;
    const std::int64_t batch = convolutional ? 12 : 40;
    const std::string path = folder.file(convolutional ? "cnn.json" : "mlp.json");
    const Outcome plain = train(convolutional, steps, batch, {.threads = 2});
    const Outcome tuned = train(convolutional, steps, batch, {.threads = 2, .tune = {.measure = true, .write = path}});
    CHECK(tuned.hash == plain.hash);
    CHECK(tuned.loss == plain.loss);
    const nlohmann::json j = nlohmann::json::parse(content(path));
    CHECK(j["choices"].size() > 8);
    CHECK(train(convolutional, steps, batch, {.threads = 2, .tune = {.read = path}}).hash == plain.hash);
  }
}

TEST_CASE("tf32: the same file gives the same bits", "[tune][bits]") {
  const Folder folder;
  const std::string path = folder.file("tune.json");
  const auto run = [&](const Tune& tune) {
    return train(true, 3, 12, {.precision = "tf32", .threads = 2, .tune = tune}).hash;
  };
  const std::uint64_t first = run({.measure = true, .write = path});
  CHECK(run({.read = path}) == first);
  const std::string before = content(path);
  CHECK(run({.measure = true, .read = path, .write = path}) == first);
  CHECK(content(path) == before);
  int several = 0;
  const nlohmann::json kept = nlohmann::json::parse(before);
  for (const auto& c : kept["choices"]) {
    const std::string row = c["row"];
    for (const auto& [name, us] : c["us"].items()) CHECK(us >= c["us"][row]);
    several += c["us"].size() > 1;
  }
  CHECK(several > 5);
}

TEST_CASE("trainers and predictors tune too", "[tune]") {
  const Folder folder;
  const std::string trained = folder.file("trained.json"), predicted = folder.file("predicted.json");
  const nn::Sequential net = mlp();
  Trainer trainer(
      net,
      {.loss = softmax_crossentropy, .precision = "tf32", .threads = 1, .tune = {.measure = true, .write = trained}});
  const Dataset some = digits().slice(0, 64);
  trainer.fit(some, {.batch_size = 32});
  CHECK(trainer.program(some).banner().ends_with("; tf32, tuned"));
  CHECK(fs::exists(trained));
  const Predictor predict =
      trainer.model().predictor({.precision = "tf32", .threads = 1, .tune = {.measure = true, .write = predicted}});
  CHECK(predict(Array(DType::f32, {3, 28, 28, 1})).shape() == Shape{3, 10});
  CHECK(nlohmann::json::parse(content(predicted))["choices"].size() >= 3);
}
