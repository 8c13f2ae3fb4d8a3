// Event files for TensorBoard: bytes of known records, framing, following a run, several writers.
#include "tenon/track_tensorboard.hpp"

#include <sys/resource.h>

#include <csignal>
#include <cstring>
#include <filesystem>

#include "lib/track/tensorboard/event.hpp"
#include "lib/track/tensorboard/markdown.hpp"
#include "lib/track/tensorboard/record.hpp"
#include "lib/track/tensorboard/wire.hpp"
#include "tenon/error.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/idx_files.hpp"

using namespace tenon;
using namespace tenon::track;
using namespace tenon::track::tensorboard;
using test::read_file;
using test::TempFolder;

namespace {

std::string bytes_of(std::initializer_list<int> values) {
  std::string bytes;
  for (const int value : values) bytes.push_back(static_cast<char>(value));
  return bytes;
}

template <class Word>
Word word_at(const std::string& bytes, std::size_t at) {
  Word word{};
  REQUIRE(at + sizeof word <= bytes.size());
  std::memcpy(&word, bytes.data() + at, sizeof word);
  return word;
}

/// CRC-32C bit by bit, apart from the library's tables, and masked.
std::uint32_t plain_masked_crc(const std::string& bytes) {
  std::uint32_t crc = ~0u;
  for (const char c : bytes) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 1u) != 0 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
  }
  crc = ~crc;
  return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

/// Data of all records; every checksum must hold and the last record must end with the file.
std::vector<std::string> records(const std::string& file) {
  std::vector<std::string> found;
  for (std::size_t at = 0; at < file.size();) {
    const auto size = word_at<std::uint64_t>(file, at);
    REQUIRE(word_at<std::uint32_t>(file, at + 8) == plain_masked_crc(file.substr(at, 8)));
    found.push_back(file.substr(at + 12, size));
    REQUIRE(found.back().size() == size);
    REQUIRE(word_at<std::uint32_t>(file, at + 12 + size) == plain_masked_crc(found.back()));
    at += 16 + size;
  }
  return found;
}

std::vector<std::string> event_files(const RunView& run) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(run.folder + "/tensorboard"))
    if (entry.path().filename().string().starts_with("events.out.tfevents.")) names.push_back(entry.path().string());
  return names;
}

std::size_t count_of(const std::vector<std::string>& records, std::string_view text) {
  std::size_t count = 0;
  for (const std::string& record : records) count += record.find(text) != std::string::npos ? 1 : 0;
  return count;
}

}  // namespace

TEST_CASE("tensorboard: a message has the bytes of the wire format", "[tensorboard]") {
  CHECK(Message().integer(1, 150).bytes() == bytes_of({0x08, 0x96, 0x01}));
  CHECK(Message().integer(2, -1).bytes() == bytes_of({0x10, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1}));
  CHECK(Message().text(2, "testing").bytes() == bytes_of({0x12, 7, 't', 'e', 's', 't', 'i', 'n', 'g'}));
  CHECK(Message().message(3, Message().integer(1, 150)).bytes() == bytes_of({0x1a, 3, 0x08, 0x96, 0x01}));
  CHECK(Message().float64(1, 1.0).bytes() == bytes_of({0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f}));
  CHECK(Message().packed_float(5, 0.5f).bytes() == bytes_of({0x2a, 4, 0, 0, 0, 0x3f}));
  CHECK(Message().integer(16, 0).bytes() == bytes_of({0x80, 0x01, 0}));  // a key of two bytes
  CHECK(Message().text(1, std::string(300, 'x')).bytes().substr(0, 3) == bytes_of({0x0a, 0xac, 0x02}));
}

TEST_CASE("tensorboard: a record has its length and masked checksums", "[tensorboard]") {
  CHECK(masked_crc("123456789") == 0xc78ab0e5u);  // CRC-32C e3069283, turned, and the constant added
  std::string file;
  add_record(file, "123456789");
  add_record(file, "");
  CHECK(file.size() == 16 + 9 + 16);
  CHECK(records(file) == std::vector<std::string>{"123456789", ""});
  // Every event file begins so: a record of 24 bytes.
  std::string first;
  add_record(first, version_event(1'500));
  CHECK(first.substr(0, 12) == bytes_of({24, 0, 0, 0, 0, 0, 0, 0, 0xa3, 0x7f, 0x4b, 0x22}));
  CHECK(first.substr(12, 24) == bytes_of({0x09, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f, 0x1a, 13}) + "brain.Event:2");
}

TEST_CASE("tensorboard: a scalar says what it is once", "[tensorboard]") {
  const std::string at = bytes_of({0x09, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f, 0x10, 7});  // 1.5 s, step 7
  const std::string value = bytes_of({0x0a, 1, 'a', 0x42, 10, 0x08, 1, 0x12, 0, 0x2a, 4, 0, 0, 0, 0x3f});
  CHECK(scalar_event({1'500, 7}, "a", 0.5, false) == at + bytes_of({0x2a, 17, 0x0a, 15}) + value);
  const std::string plugin = bytes_of({0x4a, 15, 0x0a, 11, 0x0a, 7}) + "scalars" + bytes_of({0x12, 0, 0x20, 1});
  CHECK(scalar_event({1'500, 7}, "a", 0.5, true) == at + bytes_of({0x2a, 34, 0x0a, 32}) + value + plugin);
}

TEST_CASE("tensorboard: a writer follows a run into one file", "[tensorboard]") {
  TempFolder folder;
  Experiment experiment("follow", {.root = folder.str()});
  Run run = experiment.start_run();
  run.log("a", 1);
  RunView view = RunView::open(run.folder());
  std::string path;
  {
    TensorboardWriter writer(view);
    path = writer.path();
    CHECK(path.starts_with(run.folder() + "/tensorboard/events.out.tfevents."));
    CHECK(writer.write(view) == 1);
    CHECK(writer.write(view) == 0);
    run.log("b", std::vector<double>{1, 2, 3});
    run.log("a", 2);
    const std::vector<std::uint8_t> pixels(12, 9);
    run.log_image("picture", pixels, 3, 4, 1);
    run.log_image("a", pixels, 3, 4, 1);  // the name of a metric
    run.log_params({{"lr", "0.1"}});
    REQUIRE(view.refresh());
    CHECK(writer.write(view) == 6);
    run.complete();
    REQUIRE(view.refresh());
    CHECK(writer.write(view) == 0);
    CHECK(writer.write(view) == 0);

    const std::vector<std::string> found = records(read_file(path));
    CHECK(found.size() == 1 + 5 + 2 + 3);
    CHECK(count_of(found, "scalars") == 2);
    CHECK(count_of(found, "IHDR") == 2);
    CHECK(count_of(found, "a/image") == 1);
    CHECK(count_of(found, "_hparams_/session_start_info") == 1);
    CHECK(count_of(found, "_hparams_/session_end_info") == 1);
    // Nobody else may follow it now.
    CHECK_THROWS_AS(TensorboardWriter(view), UsageError);
    CHECK_THROWS_AS(export_tensorboard(view), UsageError);
  }
  CHECK(event_files(view) == std::vector<std::string>{path});

  // The next one starts from the beginning, sorts behind and takes the place of the first.
  const std::string next = export_tensorboard(view);
  CHECK(next > path);
  CHECK(event_files(view) == std::vector<std::string>{next});
  const std::vector<std::string> found = records(read_file(next));
  CHECK(found.size() == 2 + 5 + 2 + 3);
  CHECK(found[1].ends_with(bytes_of({0x10, 0, 0x3a, 2, 0x08, 1})));  // the restart, at step 0
}

TEST_CASE("tensorboard: text stays text in a table", "[tensorboard]") {
  CHECK(plain("0.001 a-b_c") == "0.001 a-b&#95;c");
  CHECK(plain("<b>|*x*|`\\") == "&#60;b&#62;&#124;&#42;x&#42;&#124;&#96;&#92;");
  CHECK(plain("a\nb\x7f\xff") == "a b \xf4\x8f\xbf\xbf");
  CHECK(plain("\xc3\xa9\xc3\xa9", 2) == "\xc3\xa9…");  // no half characters
  CHECK(plain("\xc3\xa9\xc3\xa9", 3) == "\xc3\xa9\xc3\xa9");
  CHECK(table_of("tag", "value", {{"a|b", ""}}) == "| tag | value |\n| --- | --- |\n| a&#124;b |  |\n");
  CHECK(table_of(ConfusionEntry{"c", {"x", "*"}, {1, 2, 3, -4}}) ==
        "| true \\\\ predicted | x | &#42; |\n|---|---:|---:|\n| x | 1 | 2 |\n| &#42; | 3 | -4 |\n");
  CHECK(table_of(ConfusionEntry{"c", {"x", "y"}, {1}}) == "2 labels with 1 counts make no table.");
}

TEST_CASE("tensorboard: captions, confusion matrices and tags are texts under names of their own", "[tensorboard]") {
  TempFolder folder;
  Run run = Experiment("texts", {.root = folder.str()}).start_run({.tags = {{"owner", "me"}}});
  RunView view = RunView::open(run.folder());
  TensorboardWriter writer(view);
  CHECK(writer.write(view) == 0);
  const auto events = [&] { return records(read_file(writer.path())); };
  CHECK(count_of(events(), "| owner | me |") == 1);
  CHECK(writer.write(view) == 0);
  CHECK(events().size() == 2);  // nothing new, nothing written

  const std::vector<std::uint8_t> pixels(4, 0);
  run.log("confusion/c", 1);
  run.log_image("tags", pixels, 2, 2, 1, 3, "a caption");
  run.log_image("tags", pixels, 2, 2, 1, 4);
  const std::vector<std::string> labels{"only"};
  for (std::int64_t i = 0; i < 2; ++i) run.log_confusion("c", labels, std::vector<std::int64_t>{i});
  run.tag("owner", "you");
  REQUIRE(view.refresh());
  CHECK(writer.write(view) == 3);
  const auto found = events();
  CHECK(found.size() == 2 + 1 + 2 + 1 + 2 + 1);
  CHECK(count_of(found, "a caption") == 1);
  CHECK(count_of(found, "tags/captions") == 1);
  CHECK(count_of(found, "confusion/c/text") == 2);
  CHECK(count_of(found, "| owner | you |") == 1);
  CHECK(count_of(found, "tags/text") == 1);
  CHECK(writer.write(view) == 0);
  CHECK(events().size() == found.size());
}

TEST_CASE("tensorboard: a writer that wrote nothing leaves nothing", "[tensorboard]") {
  TempFolder folder;
  Run run = Experiment("nothing", {.root = folder.str()}).start_run();
  run.log("a", 1);
  const RunView view = RunView::open(run.folder());
  const std::string kept = export_tensorboard(view);
  { TensorboardWriter writer(view); }
  CHECK(event_files(view) == std::vector<std::string>{kept});
}

TEST_CASE("tensorboard: after a failed write the file ends where it did, and the next one brings everything",
          "[tensorboard]") {
  TempFolder folder;
  Run run = Experiment("full", {.root = folder.str()}).start_run();
  run.log("a", 1);
  RunView view = RunView::open(run.folder());
  TensorboardWriter writer(view);
  REQUIRE(writer.write(view) == 1);
  const std::string before = read_file(writer.path());
  run.log("b", std::vector<double>(20'000, 0.5));  // more than is gathered in memory
  REQUIRE(view.refresh());
  rlimit limit{};
  REQUIRE(getrlimit(RLIMIT_FSIZE, &limit) == 0);
  const rlimit small{70'001, limit.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
  std::string reason;
  try {
    writer.write(view);
  } catch (const IoError& error) {
    reason = error.what();
  }
  setrlimit(RLIMIT_FSIZE, &limit);
  std::signal(SIGXFSZ, handler);
  CHECK(reason.find(writer.path()) != std::string::npos);
  CHECK(read_file(writer.path()) == before);
  CHECK(writer.write(view) == 20'000);
  CHECK(records(read_file(writer.path())).size() == 2 + 20'000);
}

TEST_CASE("tensorboard: files of a run that are no images of it are not read", "[tensorboard]") {
  TempFolder folder;
  Run run = Experiment("images", {.root = folder.str()}).start_run();
  run.log_image("i", std::vector<std::uint8_t>(4, 0), 2, 2, 1);
  RunView view = RunView::open(run.folder());
  REQUIRE(view.images.size() == 1);
  const std::string png = read_file(run.folder() + "/" + view.images[0].file);
  test::write_file(folder / "secret.png", png);
  test::write_file(run.folder() + "/images/text.png", "no image, but long enough to be one");
  std::filesystem::create_symlink(folder / "secret.png", run.folder() + "/images/link.png");
  for (const char* file : {"../../secret.png", "images/../../../secret.png", "images/link.png", "images/text.png",
                           "images/absent.png", "images/", ""}) {
    view.images[0].file = file;
    TensorboardWriter writer(view);
    CHECK(writer.write(view) == 0);
  }
  // A folder that is a link would have files removed elsewhere.
  std::filesystem::remove_all(run.folder() + "/tensorboard");
  std::filesystem::create_directory(folder / "elsewhere");
  std::filesystem::create_directory_symlink(folder / "elsewhere", run.folder() + "/tensorboard");
  CHECK_THROWS_AS(export_tensorboard(view), IoError);
}
