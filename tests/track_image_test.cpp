// Images and confusion matrices of a run; the PNG files are decoded by the test's own reader.
#include <zlib.h>

#include <nlohmann/json.hpp>

#include "tenon/error.hpp"
#include "tenon/track.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/idx_files.hpp"

using namespace tenon;
using namespace tenon::track;
using test::read_file;
using test::TempFolder;

namespace {

std::uint32_t u32(const std::string& bytes, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(bytes.at(at + i));
  return value;
}

struct Png {
  std::uint32_t width = 0, height = 0, channels = 0;
  std::vector<std::uint8_t> pixels;
};

Png decode(const std::string& file) {
  REQUIRE(file.substr(0, 8) == std::string("\x89PNG\r\n\x1a\n"));
  Png png;
  std::string packed, last;
  for (std::size_t at = 8; at < file.size();) {
    const std::uint32_t size = u32(file, at);
    last = file.substr(at + 4, 4);
    const std::string data = file.substr(at + 8, size);
    REQUIRE(data.size() == size);
    REQUIRE(u32(file, at + 8 + size) ==
            ::crc32(0, reinterpret_cast<const Bytef*>(file.data() + at + 4), static_cast<uInt>(size + 4)));
    if (last == "IHDR") {
      REQUIRE(data.substr(8, 1) == "\x08");
      png.width = u32(data, 0), png.height = u32(data, 4), png.channels = data[9] == 2 ? 3 : 1;
    }
    if (last == "IDAT") packed += data;
    at += 12 + size;
  }
  REQUIRE(last == "IEND");
  const std::size_t row = std::size_t{png.width} * png.channels;
  std::string rows((row + 1) * png.height, '\0');
  uLongf size = static_cast<uLongf>(rows.size());
  REQUIRE(::uncompress(reinterpret_cast<Bytef*>(rows.data()), &size, reinterpret_cast<const Bytef*>(packed.data()),
                       static_cast<uLong>(packed.size())) == Z_OK);
  REQUIRE(size == rows.size());
  for (std::size_t y = 0; y < png.height; ++y) {
    REQUIRE(rows[y * (row + 1)] == '\0');
    for (std::size_t x = 0; x < row; ++x) png.pixels.push_back(static_cast<std::uint8_t>(rows[y * (row + 1) + 1 + x]));
  }
  return png;
}

}  // namespace

TEST_CASE("images are kept as PNG", "[track]") {
  const TempFolder folder;
  Run run = Experiment("images", {folder / "runs"}).start_run();
  std::vector<std::uint8_t> pixels(5 * 7 * 3);
  for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<std::uint8_t>(i * 37);
  run.log_image("mistake", pixels, 5, 7, 3, 2, "7, taken for 1");
  run.log_image("grey", std::span(pixels).first(35), 5, 7, 1);
  const RunView view = RunView::open(run.folder());
  REQUIRE(view.images.size() == 2);
  CHECK(view.images[0].name == "mistake");
  CHECK(view.images[0].caption == "7, taken for 1");
  CHECK(view.images[0].step == 2);
  CHECK(view.images[0].file == "images/mistake-2.png");
  // As the lines of the log say, which have had it from the first.
  CHECK(view.images[0].time >= view.started);
  CHECK(view.images[1].time >= view.images[0].time);
  CHECK(view.images[1].time == view.last_written);
  const Png colour = decode(read_file(run.folder() + "/" + view.images[0].file));
  CHECK((colour.width == 7 && colour.height == 5 && colour.channels == 3));
  CHECK(colour.pixels == pixels);
  const Png grey = decode(read_file(run.folder() + "/" + view.images[1].file));
  CHECK((grey.channels == 1 && grey.pixels == std::vector(pixels.begin(), pixels.begin() + 35)));
  CHECK_THROWS_AS(run.log_image("x", pixels, 5, 7, 1), UsageError);
  CHECK_THROWS_AS(run.log_image("x", pixels, 5, 7, 4), UsageError);
  CHECK_THROWS_AS(run.log_image("x", {}, 0, 7, 3), UsageError);
  CHECK_THROWS_AS(run.log_image("x", pixels, -5, -7, 3), UsageError);
}

TEST_CASE("a confusion matrix comes back", "[track]") {
  const TempFolder folder;
  Run run = Experiment("confusion", {folder / "runs"}).start_run();
  const std::vector<std::string> labels{"cat", "<dog>"};
  run.log_confusion("test", labels, std::vector<std::int64_t>{10, 2, 3, 1LL << 60});
  const RunView view = RunView::open(run.folder());
  REQUIRE(view.confusions.size() == 1);
  CHECK(view.confusions[0].time == view.last_written);
  CHECK(view.confusions[0].name == "test");
  CHECK(view.confusions[0].labels == labels);
  CHECK(view.confusions[0].counts == std::vector<std::int64_t>{10, 2, 3, 1LL << 60});
}
