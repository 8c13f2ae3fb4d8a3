// Data sets, the loader's order and minibatches, the folders where MNIST is looked for, the procedural digits.
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <set>
#include <thread>

#include "kernels/common/permutation.hpp"
#include "lib/data/digits.hpp"
#include "tenon/data.hpp"
#include "tenon/error.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/data_error.hpp"
#include "tests/support/idx_files.hpp"

using namespace tenon;
using namespace tenon::test;
namespace fs = std::filesystem;

namespace {

Dataset counting(std::int64_t n) {
  Array x(DType::u8, {n, 2}), y(DType::i32, {n});
  for (std::int64_t i = 0; i < n; ++i) {
    x.values<std::uint8_t>()[static_cast<std::size_t>(2 * i)] = static_cast<std::uint8_t>(i % 256);
    x.values<std::uint8_t>()[static_cast<std::size_t>(2 * i + 1)] = static_cast<std::uint8_t>(i / 256 % 256);
    y.values<std::int32_t>()[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(i);
  }
  return Dataset({{"x", Column{x, 255.f}}}, {{"y", Column{y}}});
}

/// The labels, that is rows, of the minibatch; its input must belong to them.
std::vector<int> rows_of(const Batch& b) {
  const auto y = b.targets.at(0).values<std::int32_t>();
  const auto x = b.inputs.at(0).values<float>();
  bool same = b.size == static_cast<std::int64_t>(y.size());
  for (std::size_t i = 0; i < y.size(); ++i)
    same &= x[2 * i] == static_cast<float>(y[i] % 256) / 255.f &&
            x[2 * i + 1] == static_cast<float>(y[i] / 256 % 256) / 255.f;
  REQUIRE(same);
  return {y.begin(), y.end()};
}

std::vector<int> epoch_of(Loader& loader, std::uint32_t epoch) {
  std::vector<int> all;
  loader.start_epoch(epoch);
  while (const Batch* b = loader.next())
    for (const int row : rows_of(*b)) all.push_back(row);
  return all;
}

std::string real_mnist() {
  if (const char* env = std::getenv("TENON_MNIST"); env != nullptr && *env != '\0') return env;
  const fs::path beside = fs::path(TENON_SOURCE_DIR).parent_path() / "shared/mnist";
  return fs::exists(beside / "train-images-idx3-ubyte.gz") ? beside.string() : "";
}

}  // namespace

TEST_CASE("dataset: columns, checks and slices", "[data][dataset]") {
  const Dataset d = counting(10);
  REQUIRE(d.size() == 10);
  REQUIRE(d.inputs()[0].second.sample_shape() == Shape{2});
  REQUIRE(d.inputs()[0].second.batch_spec(4).str() == "f32(4,2)");
  REQUIRE(d.targets()[0].second.batch_spec(4).str() == "i32(4)");
  const Dataset part = d.slice(3, 7);
  REQUIRE(part.size() == 4);
  REQUIRE(part.targets()[0].second.data.at(0) == 3);
  REQUIRE_THROWS_AS(d.slice(3, 11), UsageError);
  REQUIRE_THROWS_AS(d.slice(-1, 3), UsageError);
  const Array four(DType::f32, {4, 1}), five(DType::f32, {5, 1});
  REQUIRE(Dataset(four, four).size() == 4);
  REQUIRE(has(data_error([&] { Dataset(four, five); }), "expected 4 samples in target 0 as in input 0, found 5"));
  REQUIRE_THROWS_AS(Dataset({{"a", Column{four}}, {"a", Column{four}}}, {}), UsageError);
  REQUIRE_THROWS_AS(Dataset({{"a", Column{four, 0.f}}}, {}), UsageError);
  REQUIRE_THROWS_AS(Dataset(Array(), four), DataError);
}

TEST_CASE("loader: what a minibatch holds of each type", "[data][loader]") {
  Array u(DType::u8, {256}), i(DType::i32, {256}), f(DType::f32, {256}), d(DType::f64, {256});
  for (std::size_t k = 0; k < 256; ++k) {
    u.values<std::uint8_t>()[k] = static_cast<std::uint8_t>(k);
    i.values<std::int32_t>()[k] = -static_cast<std::int32_t>(k);
    f.values<float>()[k] = 0.1f * static_cast<float>(k);
    d.values<double>()[k] = 0.1 * static_cast<double>(k);
  }
  Loader loader(
      Dataset({{"u", {u, 255.f}}, {"v", {u}}, {"i", {i}}, {"j", {i, 3.f}}, {"f", {f}}, {"g", {f, 3.f}}, {"d", {d}}},
              {}),
      {.batch_size = 256, .shuffle = false});
  const Batch* b = loader.next();
  REQUIRE(b != nullptr);
  for (int k = 0; k < 256; ++k) {
    const auto x = static_cast<float>(k);
    const std::size_t s = static_cast<std::size_t>(k);
    REQUIRE(b->inputs[0].values<float>()[s] == x / 255.f);
    REQUIRE(b->inputs[1].values<std::int32_t>()[s] == k);
    REQUIRE(b->inputs[2].values<std::int32_t>()[s] == -k);
    REQUIRE(b->inputs[3].values<float>()[s] == -x / 3.f);
    REQUIRE(b->inputs[4].values<float>()[s] == 0.1f * x);
    REQUIRE(b->inputs[5].values<float>()[s] == 0.1f * x / 3.f);
    REQUIRE(b->inputs[6].values<float>()[s] == static_cast<float>(0.1 * k));
  }
}

TEST_CASE("loader: the shuffle is a bijection that seed and epoch choose", "[data][loader]") {
  for (const std::uint64_t n :
       std::initializer_list<std::uint64_t>{1, 2, 3, 4, 5, 7, 8, 9, 31, 100, 1000, 60000, 65536, 65537}) {
    const permutation::Key key = permutation::make(n, 7, 3);
    std::vector<bool> seen(n);
    std::uint64_t count = 0;
    for (std::uint64_t i = 0; i < n; ++i) {
      const std::uint64_t row = permutation::apply(key, i);
      if (row < n && !seen[row]) seen[row] = true, ++count;
    }
    REQUIRE(count == n);
  }
  // All orders of a few rows come up equally often: chi-square, with its 0.1 % points for 5, 23 and 119 degrees of
  // freedom.
  struct Case {
    std::uint64_t n;
    std::size_t orders;
    double limit;
  };
  for (const auto& [n, count, limit] : {Case{3, 6, 20.5}, Case{4, 24, 49.7}, Case{5, 120, 173.6}}) {
    std::map<std::vector<std::uint64_t>, int> orders;
    for (std::uint32_t epoch = 0; epoch < 200 * count; ++epoch) {
      std::vector<std::uint64_t> order;
      for (std::uint64_t i = 0; i < n; ++i) order.push_back(permutation::apply(permutation::make(n, 1, epoch), i));
      ++orders[order];
    }
    REQUIRE(orders.size() == count);
    double chi_square = 0;
    for (const auto& [order, times] : orders) chi_square += (times - 200.) * (times - 200.) / 200.;
    REQUIRE(chi_square < limit);
  }
}

TEST_CASE("loader: an epoch has every row once, in an order of its own", "[data][loader]") {
  for (const bool prefetch : {false, true}) {
    Loader loader(counting(1000), {.batch_size = 64, .seed = 5, .prefetch = prefetch});
    REQUIRE(loader.batches_per_epoch() == 16);
    const std::vector<int> first = epoch_of(loader, 0), second = epoch_of(loader, 1);
    REQUIRE(std::set<int>(first.begin(), first.end()).size() == 1000);
    REQUIRE(std::set<int>(second.begin(), second.end()).size() == 1000);
    int fixed = 0;
    for (std::size_t i = 0; i < 1000; ++i) fixed += first[i] == second[i];
    REQUIRE(fixed < 10);
    REQUIRE(epoch_of(loader, 0) == first);
    Loader again(counting(1000), {.batch_size = 50, .seed = 5, .prefetch = !prefetch});
    REQUIRE(epoch_of(again, 1) == second);  // whatever the batch size
    Loader other(counting(1000), {.batch_size = 64, .seed = 6});
    REQUIRE(epoch_of(other, 0) != first);
  }
}

TEST_CASE("loader: short last minibatch, dropped last, first minibatch, reused memory", "[data][loader]") {
  Loader loader(counting(100), {.batch_size = 32, .shuffle = false});
  std::vector<std::int64_t> sizes;
  std::set<const std::byte*> places;
  for (std::uint32_t epoch = 0; epoch < 3; ++epoch) {
    loader.start_epoch(epoch);
    while (const Batch* b = loader.next()) {
      sizes.push_back(b->size);
      REQUIRE(b->inputs[0].shape() == Shape{b->size, 2});
      if (b->size == 32) places.insert(b->inputs[0].bytes());
    }
    REQUIRE(loader.next() == nullptr);
  }
  REQUIRE(sizes == std::vector<std::int64_t>{32, 32, 32, 4, 32, 32, 32, 4, 32, 32, 32, 4});
  REQUIRE(places.size() == 2);

  loader.start_epoch(1, 3);
  const Batch* last = loader.next();
  REQUIRE(rows_of(*last) == std::vector<int>{96, 97, 98, 99});
  REQUIRE(loader.next() == nullptr);
  REQUIRE_THROWS_AS(loader.start_epoch(0, 5), UsageError);

  Loader dropped(counting(100), {.batch_size = 32, .drop_last = true});
  REQUIRE(dropped.batches_per_epoch() == 3);
  REQUIRE(epoch_of(dropped, 0).size() == 96);
  Loader wide(counting(3), {.batch_size = 8});
  REQUIRE(epoch_of(wide, 0).size() == 3);
  REQUIRE_THROWS_AS(Loader(counting(3), {.batch_size = 8, .drop_last = true}), UsageError);
  REQUIRE_THROWS_AS(Loader(counting(3), {.batch_size = 0}), UsageError);
}

TEST_CASE("loader: 9,375 continuous minibatches of 64 are exactly ten sweeps of 60,000", "[data][loader]") {
  std::vector<int> streams[2];
  for (const bool prefetch : {false, true}) {
    Loader loader(counting(60000), {.batch_size = 64, .seed = 3, .continuous = true, .prefetch = prefetch});
    REQUIRE(loader.batches_per_epoch() == 938);
    for (int k = 0; k < 9375; ++k)
      for (const int row : rows_of(*loader.next())) streams[prefetch].push_back(row);
  }
  REQUIRE(streams[0] == streams[1]);
  for (std::uint32_t sweep = 0; sweep < 10; ++sweep) {
    std::vector<bool> seen(60000);
    int right = 0;
    const permutation::Key key = permutation::make(60000, 3, sweep);
    for (std::size_t i = 0; i < 60000; ++i) {
      const int row = streams[0][sweep * 60000 + i];
      right += !seen[static_cast<std::size_t>(row)] && permutation::apply(key, i) == static_cast<std::uint64_t>(row);
      seen[static_cast<std::size_t>(row)] = true;
    }
    REQUIRE(right == 60000);
  }
  Loader resumed(counting(60000), {.batch_size = 64, .seed = 3, .continuous = true});
  resumed.start_epoch(0, 5000);
  REQUIRE(rows_of(*resumed.next()) == std::vector<int>(streams[0].begin() + 320000, streams[0].begin() + 320064));
  Loader tiny(counting(3), {.batch_size = 8, .shuffle = false, .continuous = true});
  REQUIRE(rows_of(*tiny.next()) == std::vector<int>{0, 1, 2, 0, 1, 2, 0, 1});
}

TEST_CASE("loader: threads that are busy with minibatches gather what a background thread does", "[data][loader]") {
  const std::int64_t n = 300, width = 500, batch = 64;  // enough for more than one thread
  Array bytes(DType::u8, {n, width}), floats(DType::f32, {n, width}), ids(DType::i32, {n, width});
  for (std::int64_t i = 0; i < n * width; ++i) {
    const auto at = static_cast<std::size_t>(i);
    bytes.values<std::uint8_t>()[at] = static_cast<std::uint8_t>(i * 7 % 251);
    floats.values<float>()[at] = static_cast<float>(i) * 0.5f;
    ids.values<std::int32_t>()[at] = static_cast<std::int32_t>(i);
  }
  const Dataset data({{"bytes", Column{bytes, 255.f}}, {"floats", Column{floats}}}, {{"ids", Column{ids}}});
  const auto gathered = [&](int busy_threads, std::function<void(Batch&)> transform) {
    Loader loader(data, {.batch_size = batch, .busy_threads = busy_threads, .transform = std::move(transform)});
    loader.start_epoch(1);
    std::vector<std::byte> all;
    const auto add = [&](const Array& a) { all.insert(all.end(), a.bytes(), a.bytes() + a.spec().bytes()); };
    while (const Batch* b = loader.next()) {
      for (const Array& a : b->inputs) add(a);
      for (const Array& a : b->targets) add(a);
    }
    return all;
  };
  const std::vector<std::byte> alone = gathered(0, nullptr);
  REQUIRE(alone.size() == static_cast<std::size_t>(n * width * 12));
  REQUIRE(gathered(1 << 20, nullptr) == alone);
  // A transform has a thread of its own all the same.
  std::thread::id where;
  REQUIRE(gathered(1 << 20, [&](Batch&) { where = std::this_thread::get_id(); }) == alone);
  REQUIRE(where != std::this_thread::get_id());
}

TEST_CASE("loader: an exception comes out of next(), and the loader can be left at any time", "[data][loader]") {
  for (const bool prefetch : {false, true}) {
    int calls = 0;
    Loader loader(counting(100), {.batch_size = 10, .prefetch = prefetch, .transform = [&calls](Batch& b) {
                                    b.inputs[0].values<float>()[0] = 42;
                                    if (++calls == 3) throw DataError("third");
                                  }});
    REQUIRE(loader.next()->inputs[0].at(0) == 42);
    REQUIRE(loader.next() != nullptr);
    REQUIRE_THROWS_WITH(loader.next(), "third");
    loader.start_epoch(1);
    int batches = 0;
    while (loader.next() != nullptr) ++batches;
    REQUIRE(batches == 10);
  }
  for (int k = 0; k < 50; ++k) {
    Loader loader(counting(100), {.batch_size = 10});
    loader.start_epoch(0);
    for (int i = 0; i < k % 4; ++i) (void)loader.next();
    Loader moved = std::move(loader);
    moved.start_epoch(1);
    if (k % 2 != 0) (void)moved.next();
  }
}

TEST_CASE("mnist: both naming schemes, the subfolder, plain and gzip", "[data][mnist]") {
  const TempFolder folder;
  write_mnist(folder / "a/mnist", 5, 3);
  fs::create_directories(folder / "b");
  write_file(folder / "b/train-images.gz", gz(idx_images(5)));
  write_file(folder / "b/train-labels.gz", gz(idx_labels(5)));
  write_file(folder / "b/test-images", idx_images(3));
  write_file(folder / "b/test-labels", idx_labels(3));
  for (const char* name : {"a", "a/mnist", "b"}) {
    const MnistData data = load_mnist({.data_folder = folder / name});
    REQUIRE_FALSE(data.synthetic);
    REQUIRE(data.train.size() == 5);
    REQUIRE(data.test.size() == 3);
    REQUIRE(data.train.inputs()[0].second.data.spec().str() == "u8(5,28,28,1)");
    REQUIRE(data.train.inputs()[0].second.batch_spec(2).str() == "f32(2,28,28,1)");
    REQUIRE(data.test.targets()[0].second.batch_spec(2).str() == "i32(2)");
  }
}

TEST_CASE("mnist: a named folder that is missing or incomplete is an error that lists what it lacks", "[data][mnist]") {
  const TempFolder folder;
  const auto error_of = [](const std::string& path) {
    return data_error([&] { (void)load_mnist({.data_folder = path, .offline = true}); });
  };
  REQUIRE(has(error_of(folder / "none"), "no such folder"));
  REQUIRE(has(error_of(folder.str()), "found 0 of 4"));
  write_mnist(folder / "x", 5, 3);
  fs::remove(folder / "x/t10k-images-idx3-ubyte.gz");
  REQUIRE(has(error_of(folder / "x"), "missing: test images (t10k-images-idx3-ubyte[.gz] or test-images[.gz])"));
  const Env env("TENON_MNIST", (folder / "x").c_str());
  REQUIRE(has(data_error([] { (void)load_mnist({.offline = true}); }), "TENON_MNIST"));
  write_mnist(folder / "y", 5, 3);
  write_file(folder / "y/train-labels-idx1-ubyte.gz", gz(idx_labels(6)));
  REQUIRE(has(error_of(folder / "y"), "as many labels as images, found 5"));
  write_mnist(folder / "z", 5, 3);
  fs::remove(folder / "z/t10k-labels-idx1-ubyte");
  REQUIRE(mkfifo((folder / "z/t10k-labels-idx1-ubyte").c_str(), 0600) == 0);
  REQUIRE(has(error_of(folder / "z"), "expected a regular file"));
}

TEST_CASE("mnist: the search goes TENON_MNIST, ./data, the cache, procedural digits", "[data][mnist]") {
  const TempFolder folder;
  const Env cache("XDG_CACHE_HOME", (folder / "cache").c_str());
  const fs::path before = fs::current_path();
  fs::current_path(folder.str());
  MnistOptions options{.offline = true, .synthetic_train = 30, .synthetic_test = 10};
  std::string said;
  options.log = [&said](const std::string& line) { said += line + "\n"; };
  {
    const Env none("TENON_MNIST", nullptr);
    const MnistData drawn = load_mnist(options);
    REQUIRE(drawn.synthetic);
    REQUIRE(drawn.train.size() == 30);
    REQUIRE(has(said, "SYNTHETIC DATA"));
    REQUIRE(has(said, "the network is switched off"));
    write_mnist(folder / "cache/tenon/mnist", 6, 2);
    REQUIRE(load_mnist(options).train.size() == 6);
    write_mnist(folder / "data", 7, 2);
    REQUIRE(load_mnist(options).train.size() == 7);
  }
  write_mnist(folder / "named", 8, 2);
  const Env env("TENON_MNIST", (folder / "named").c_str());
  REQUIRE(load_mnist(options).train.size() == 8);
  options.download = true;
  REQUIRE_THROWS_AS(load_mnist(options), UsageError);
  fs::current_path(before);
}

TEST_CASE("mnist: the real files", "[data][mnist]") {
  const std::string folder = real_mnist();
  if (folder.empty()) {
    WARN("not run: no MNIST files (set TENON_MNIST)");
    return;
  }
  const MnistData data = load_mnist({.data_folder = folder});
  REQUIRE(data.train.size() == 60000);
  REQUIRE(data.test.size() == 10000);
  const auto count = [](const Dataset& d, int digit) {
    const auto y = d.targets()[0].second.data.values<std::uint8_t>();
    return std::count(y.begin(), y.end(), digit);
  };
  REQUIRE(count(data.train, 0) == 5923);
  REQUIRE(count(data.train, 5) == 5421);
  REQUIRE(count(data.test, 1) == 1135);
  std::int64_t sum = 0;
  for (const std::uint8_t p : data.train.inputs()[0].second.data.values<std::uint8_t>()) sum += p;
  REQUIRE(sum == 1567298545);  // mean 0.1307 of 255
}

TEST_CASE("digits: seeded, different in both splits, and all ten are drawn", "[data][digits]") {
  const DigitFiles a = draw_digits(500, 1, 0), b = draw_digits(200, 1, 0), c = draw_digits(500, 1, 1),
                   d = draw_digits(500, 2, 0);
  REQUIRE(std::equal(b.images.begin() + 16, b.images.end(), a.images.begin() + 16));  // digit i depends on i alone
  REQUIRE(a.images != c.images);
  REQUIRE(a.images != d.images);
  std::map<int, int> drawn;
  for (std::size_t i = 8; i < a.labels.size(); ++i) ++drawn[static_cast<int>(a.labels[i])];
  REQUIRE(drawn.size() == 10);
  for (std::size_t i = 0; i < 500; ++i) {
    int ink = 0;
    for (std::size_t p = 0; p < 784; ++p) ink += static_cast<int>(a.images[16 + i * 784 + p]) > 128;
    REQUIRE(ink > 10);
    REQUIRE(ink < 400);
  }
  REQUIRE_THROWS_AS(draw_digits(0, 1, 0), UsageError);
}
