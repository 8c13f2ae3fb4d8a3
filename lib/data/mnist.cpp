// Finds the four files of MNIST, or gets them, or draws procedural digits instead: in this order, and says which.
#include <fmt/format.h>

#include <array>
#include <cstdlib>
#include <filesystem>

#include "lib/data/byte_source.hpp"
#include "lib/data/digits.hpp"
#include "lib/data/download.hpp"
#include "lib/data/http_get.hpp"
#include "tenon/data.hpp"
#include "tenon/error.hpp"

namespace tenon {
namespace {

namespace fs = std::filesystem;
using Log = std::function<void(const std::string&)>;

enum Role { train_images, train_labels, test_images, test_labels };
constexpr std::array<const char*, 4> role_name = {"train images", "train labels", "test images", "test labels"};

// Both schemes in use, and the one of files that were unpacked by some archivers (a dot for a dash).
const std::array<std::vector<std::string>, 4> stems = {{
    {"train-images-idx3-ubyte", "train-images.idx3-ubyte", "train-images"},
    {"train-labels-idx1-ubyte", "train-labels.idx1-ubyte", "train-labels"},
    {"t10k-images-idx3-ubyte", "t10k-images.idx3-ubyte", "t10k-images", "test-images-idx3-ubyte", "test-images"},
    {"t10k-labels-idx1-ubyte", "t10k-labels.idx1-ubyte", "t10k-labels", "test-labels-idx1-ubyte", "test-labels"},
}};

struct Found {
  std::string folder;
  std::array<std::string, 4> path;  // empty: not there
  [[nodiscard]] int count() const {
    int n = 0;
    for (const std::string& p : path) n += !p.empty();
    return n;
  }
};

// Whatever bears the name counts, also a folder or a dead link: the reader then says what is wrong with it.
bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(fs::symlink_status(path, ignored));
}

Found look_in(const std::string& folder) {
  Found found{folder, {}};
  for (std::size_t role = 0; role < 4; ++role)
    for (const std::string& stem : stems[role])
      for (const char* ending : {"", ".gz"})
        if (const fs::path p = fs::path(folder) / (stem + ending); found.path[role].empty() && is_there(p))
          found.path[role] = p.string();
  return found;
}

// All four from one folder: `folder` itself, else its `mnist`. Otherwise the fuller of the two, for the message.
Found look_in_both(const std::string& folder) {
  Found own = look_in(folder);
  if (own.count() == 4) return own;
  Found inner = look_in((fs::path(folder) / "mnist").string());
  return inner.count() > own.count() ? inner : own;
}

[[noreturn]] void incomplete(const std::string& folder, const Found& found, const std::string& named_by) {
  std::error_code ignored;
  const std::string head =
      fmt::format("[mnist] expected MNIST's four files in the folder named by {}: {}", named_by, printable(folder));
  if (!fs::is_directory(folder, ignored))
    throw DataError(fmt::format("{}\nfound {}", head, is_there(folder) ? "that it is not a folder" : "no such folder"));
  std::string missing;
  for (std::size_t role = 0; role < 4; ++role)
    if (found.path[role].empty())
      missing += fmt::format("{}{} ({}[.gz] or {}[.gz])", missing.empty() ? "" : ", ", role_name[role],
                             stems[role].front(), stems[role].back());
  throw DataError(
      fmt::format("{}\nfound {} of 4 there and in its subfolder mnist\nmissing: {}", head, found.count(), missing));
}

std::string env(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

std::string user_cache() {
  // A relative XDG_CACHE_HOME is to be ignored, as its specification says.
  if (const std::string xdg = env("XDG_CACHE_HOME"); xdg.starts_with('/')) return xdg + "/tenon/mnist";
  if (const std::string home = env("HOME"); !home.empty()) return home + "/.cache/tenon/mnist";
  return "";
}

Dataset pair_up(const Array& images, const Array& labels, const std::string& image_name,
                const std::string& label_name) {
  const std::int64_t n = images.shape()[0];
  if (n != labels.shape()[0])
    throw DataError(fmt::format("[mnist] expected as many labels as images, found {} in {}\nand {} in {}", n,
                                printable(image_name), labels.shape()[0], printable(label_name)));
  return Dataset({{"image", Column{images.reshaped({n, 28, 28, 1}), 255.f}}}, {{"label", Column{labels}}});
}

const IdxExpectation image_file = {.sample = {28, 28}};
const IdxExpectation label_file = {.sample = {}, .max_value = 9};

MnistData read_found(const Found& found) {
  const auto read_pair = [&found](Role images, Role labels) {
    return pair_up(read_idx(found.path[images], image_file), read_idx(found.path[labels], label_file),
                   found.path[images], found.path[labels]);
  };
  MnistData data;
  data.train = read_pair(train_images, train_labels);
  data.test = read_pair(test_images, test_labels);
  data.source = found.folder;
  return data;
}

Dataset procedural(std::int64_t count, const MnistOptions& options, std::uint32_t split) {
  const DigitFiles files = draw_digits(count, options.seed, split);
  const std::string name = split == 0 ? "procedural train digits" : "procedural test digits";
  return pair_up(parse_idx(files.images, name, image_file), parse_idx(files.labels, name, label_file), name, name);
}

// Short time-outs for a download that nobody asked for.
void fetch(const std::string& folder, const MnistOptions& options, bool asked) {
  DownloadOptions how;
  how.mirrors = options.mirrors.empty() ? mnist_mirrors() : options.mirrors;
  how.log = options.log;
  if (!asked) how.connect_timeout_ms = 4000, how.stall_seconds = 10;
  download_files(mnist_files(), folder, how);
}

}  // namespace

MnistData load_mnist(const MnistOptions& options) {
  const auto say = [&options](const std::string& line) {
    if (options.log) options.log(line);
  };
  const bool offline = options.offline || (!env("TENON_OFFLINE").empty() && env("TENON_OFFLINE") != "0");
  if (options.download && offline)
    throw UsageError("[mnist] a download was asked for, and so was to stay offline (option or TENON_OFFLINE)");

  const std::string by_env = env("TENON_MNIST");
  if (options.data_folder || !by_env.empty()) {
    const std::string& folder = options.data_folder ? *options.data_folder : by_env;
    Found found = look_in_both(folder);
    if (found.count() < 4 && options.download) {
      fetch(folder, options, true);
      found = look_in(folder);
    }
    if (found.count() < 4) incomplete(folder, found, options.data_folder ? "--data-folder" : "TENON_MNIST");
    return read_found(found);
  }

  const std::string cache = user_cache();
  for (const std::string& folder : {std::string("data"), cache}) {
    if (folder.empty()) continue;
    const Found found = look_in_both(folder);
    if (found.count() == 4) return read_found(found);
    say(fmt::format("{} of MNIST's 4 files in {}", found.count(), printable(folder)));
  }

  std::string reason;
  if (offline) {
    reason = "the network is switched off";
  } else if (cache.empty()) {
    reason = "neither HOME nor XDG_CACHE_HOME says where to download to";
  } else {
    try {
      fetch(cache, options, options.download);
      return read_found(look_in(cache));
    } catch (const Error& error) {
      if (options.download) throw;
      reason = error.what();
    }
  }
  if (options.download) throw IoError(fmt::format("[mnist] cannot download: {}", reason));

  say(fmt::format("cannot download MNIST: {}", reason));
  say(fmt::format("SYNTHETIC DATA: {} procedural digits to train on and {} to test on (seed {}). This is not MNIST:",
                  options.synthetic_train, options.synthetic_test, options.seed));
  say("for results that compare with others', name the folder with MNIST's files or download them");
  MnistData data;
  data.train = procedural(options.synthetic_train, options, 0);
  data.test = procedural(options.synthetic_test, options, 1);
  data.source = fmt::format("procedural digits, seed {}", options.seed);
  data.synthetic = true;
  return data;
}

}  // namespace tenon
