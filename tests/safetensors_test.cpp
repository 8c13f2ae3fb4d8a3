// Weight files: what is written can be read by anyone, and whatever is not exactly what was written is refused.
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>

#include "lib/io/crc32c.hpp"
#include "lib/io/safetensors.hpp"
#include "lib/io/sha256.hpp"
#include "tenon/error.hpp"
#include "tenon/io.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/idx_files.hpp"
#include "tests/support/weight_files.hpp"

using namespace tenon;
using test::foreign;
using test::read_file;
using test::refusal;
using test::TempFolder;
using test::write_file;

namespace {

TensorFile sample() {
  TensorFile file;
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  file.tensors.emplace_back("labels", Array::of(std::vector<std::uint8_t>{0, 255, 7}, {3}));
  file.tensors.emplace_back("conv.kernel",
                            Array::of(std::vector<float>{1.5f, -0.f, nan, inf, 1e-45f, -3.f}, {1, 2, 3}));
  file.tensors.emplace_back("mean", Array::of(std::vector<double>{0.1}, {}));
  file.tensors.emplace_back("none", Array(DType::f32, {4, 0}));
  file.tensors.emplace_back("ids", Array::of(std::vector<std::int32_t>{-1, 2147483647}, {2, 1}));
  file.metadata = {{"note", "two \"words\"\n\u00e9"}, {"step", "12"}};
  return file;
}

bool same_bits(const Array& a, const Array& b) {
  return a.spec() == b.spec() && std::memcmp(a.bytes(), b.bytes(), a.spec().bytes()) == 0;
}

int open_descriptors() {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) count += !entry.path().empty();
  return count;
}

std::size_t entries_in(const std::string& folder) {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) count += !entry.path().empty();
  return count;
}

}  // namespace

TEST_CASE("crc32c gives the published check values", "[io]") {
  CHECK(crc32c(std::string_view("123456789")) == 0xe3069283u);
  CHECK(crc32c(std::string(32, '\0')) == 0x8a9136aau);  // RFC 3720, B.4
  CHECK(crc32c(std::string(32, '\xff')) == 0x62a8ab43u);
  const std::string text = "a tenon is the tongue that fits the mortise";
  for (std::size_t cut = 0; cut <= text.size(); ++cut)
    CHECK(crc32c(std::string_view(text).substr(cut), crc32c(std::string_view(text).substr(0, cut))) == crc32c(text));
}

TEST_CASE("tensors and metadata come back bit for bit", "[io]") {
  const TempFolder folder;
  const TensorFile written = sample();
  write_safetensors(folder / "a.safetensors", written);
  const TensorFile read = read_safetensors(folder / "a.safetensors");
  CHECK(read.metadata == written.metadata);
  REQUIRE(read.tensors.size() == written.tensors.size());
  // Wider element types first; equally wide ones as they were given.
  const char* order[] = {"mean", "conv.kernel", "none", "ids", "labels"};
  for (std::size_t i = 0; i < read.tensors.size(); ++i) {
    CHECK(read.tensors[i].first == order[i]);
    for (const auto& [name, array] : written.tensors)
      if (name == order[i]) CHECK(same_bits(array, read.tensors[i].second));
  }
  write_safetensors(folder / "b.safetensors", read);
  CHECK(read_file(folder / "a.safetensors") == read_file(folder / "b.safetensors"));
  CHECK(entries_in(folder.str()) == 2);

  write_safetensors(folder / "empty.safetensors", {});
  CHECK(read_safetensors(folder / "empty.safetensors").tensors.empty());
}

TEST_CASE("the layout is that of the format, read by hand", "[io]") {
  const TempFolder folder;
  write_safetensors(folder / "a", sample());
  const std::string bytes = read_file(folder / "a");
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  CHECK((8 + length) % 64 == 0);
  const std::string payload = bytes.substr(8 + length);
  const auto header = nlohmann::json::parse(bytes.substr(8, length));
  const auto& metadata = header.at("__metadata__");
  CHECK(metadata.at("format") == "tenon");
  CHECK(metadata.at("version") == "1");
  CHECK(metadata.at("step") == "12");
  CHECK(metadata.at("sha256") == sha256_hex(payload));
  CHECK(header.size() == 6);
  CHECK(header.at("mean") ==
        nlohmann::json{{"dtype", "F64"}, {"shape", nlohmann::json::array()}, {"data_offsets", {0, 8}}});
  CHECK(header.at("conv.kernel") == nlohmann::json{{"dtype", "F32"}, {"shape", {1, 2, 3}}, {"data_offsets", {8, 32}}});
  CHECK(header.at("none") == nlohmann::json{{"dtype", "F32"}, {"shape", {4, 0}}, {"data_offsets", {32, 32}}});
  CHECK(header.at("ids") == nlohmann::json{{"dtype", "I32"}, {"shape", {2, 1}}, {"data_offsets", {32, 40}}});
  CHECK(header.at("labels") == nlohmann::json{{"dtype", "U8"}, {"shape", {3}}, {"data_offsets", {40, 43}}});
  CHECK(payload.size() == 43);
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    const std::size_t begin = entry["data_offsets"][0], end = entry["data_offsets"][1];
    char digits[9];
    std::snprintf(digits, sizeof digits, "%08x", crc32c(payload.substr(begin, end - begin)));
    CHECK(metadata.at("crc32c:" + name) == digits);
  }
}

TEST_CASE("files of other writers load without checksums", "[io]") {
  const TempFolder folder;
  const std::string path = folder / "theirs";
  write_file(
      path,
      foreign(
          R"({"b":{"shape":[2],"data_offsets":[0,8],"dtype":"F32"}, "a" : {"dtype":"U8","shape":[],"data_offsets":[8,9]},)"
          R"("__metadata__":{"format":"pt"}}   )",
          std::string("\0\0\x80\x3f\0\0\0\x40\x05", 9)));
  const TensorFile file = read_safetensors(path);
  REQUIRE(file.tensors.size() == 2);
  CHECK(file.tensors[0].first == "b");
  CHECK(file.tensors[0].second.at(1) == 2.0);
  CHECK(file.tensors[1].second.item() == 5.0);
  CHECK(file.metadata.at("format") == "pt");

  for (const char* type : {"F16", "BF16", "I64", "BOOL", "F8_E4M3", "f32", ""}) {
    write_file(path,
               foreign(std::string(R"({"x":{"dtype":")") + type + R"(","shape":[1],"data_offsets":[0,2]}})", "ab"));
    const std::string message = refusal(path);
    INFO(message);
    CHECK(message.find("tensor 'x': expected one of the supported dtypes F32, F64, U8 and I32, found " +
                       std::string(type)) != std::string::npos);
  }
}

TEST_CASE("every truncation, every flipped bit and every byte more is found", "[io]") {
  const TempFolder folder;
  const std::string path = folder / "a";
  TensorFile file = sample();
  file.tensors.emplace_back("weights", Array(DType::f32, {11, 23}));
  write_safetensors(path, file);
  const std::string good = read_file(path);
  REQUIRE(good.size() > 1700);
  REQUIRE(good.size() < 3000);

  std::size_t missed = 0;
  // From memory: tens of thousands of files would keep a busy machine for minutes.
  const auto accepted = [&](const std::string& bytes) {
    try {
      (void)safetensors::Reader(std::as_bytes(std::span(bytes)), "copy").read();
      return true;
    } catch (const CheckpointError&) {
      return false;
    }
  };
  for (std::size_t size = 0; size < good.size(); ++size) missed += accepted(good.substr(0, size));
  CHECK(missed == 0);
  for (std::size_t bit = 0; bit < 8 * good.size(); ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
    missed += accepted(bad);
  }
  CHECK(missed == 0);
  for (std::size_t at = 0; at <= good.size(); ++at) {
    std::string longer = good, shorter = good;
    longer.insert(at, 1, at < good.size() ? good[at] : ' ');
    missed += accepted(longer);
    if (at < good.size()) missed += accepted(shorter.erase(at, 1));
  }
  CHECK(missed == 0);
  for (std::size_t block = 0; block + 64 <= good.size(); block += 64) {
    std::string bad = good;
    bad.replace(block, 64, std::string(64, '\0'));
    if (bad != good) missed += accepted(bad);
  }
  CHECK(missed == 0);
  std::mt19937_64 random(1);
  for (int i = 0; i < 20000; ++i) {  // two and three bits in the first 512 bytes
    std::string bad = good;
    for (int k = 0; k < 2 + i % 2; ++k) {
      const std::size_t bit = random() % 4096;
      bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
    }
    if (bad != good) missed += accepted(bad);
  }
  CHECK(missed == 0);
  CHECK(accepted(good));

  // The same through the file system, for a few places of each kind.
  const auto accepted_file = [&](const std::string& bytes) {
    write_file(path, bytes);
    return refusal(path) == "accepted";
  };
  const int before = open_descriptors();
  for (std::size_t at = 0; at < good.size(); at += 61) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 4);
    missed += accepted_file(bad) + accepted_file(good.substr(0, at));
  }
  CHECK(missed == 0);
  CHECK(accepted_file(good));
  CHECK(open_descriptors() == before);
}

TEST_CASE("a damaged file is described", "[io]") {
  const TempFolder folder;
  const std::string path = folder / "a";
  write_safetensors(path, sample());
  const std::string good = read_file(path);
  std::string bad = good;
  bad[bad.size() - 43 + 10] ^= 1;
  write_file(path, bad);
  CHECK(refusal(path).find("tensor 'conv.kernel', bytes ") != std::string::npos);
  bad = good;
  bad[bad.find("\"12\"") + 1] = '3';
  write_file(path, bad);
  CHECK(refusal(path).find("expected a header with CRC ") != std::string::npos);
  bad = good;
  bad[bad.find("{\"__metadata__") + 2] = '-';  // the entries of the header now describe a tensor
  write_file(path, bad);
  CHECK(refusal(path).find("byte ") != std::string::npos);
  write_file(path, good.substr(0, good.size() - 1));
  CHECK(refusal(path).find("expected the file to end after 43 bytes of tensors, found 42") != std::string::npos);
}

TEST_CASE("what is no regular file is refused at once", "[io]") {
  const TempFolder folder;
  const std::string pipe = folder / "pipe";
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  CHECK_THROWS_AS(read_safetensors(pipe), IoError);
  CHECK_THROWS_AS(read_safetensors("/dev/zero"), IoError);
  CHECK_THROWS_AS(read_safetensors(folder.str()), IoError);
  CHECK_THROWS_AS(read_safetensors(folder / "absent"), IoError);
}

TEST_CASE("the writer refuses what the format does not allow", "[io]") {
  const TempFolder folder;
  const std::string path = folder / "a";
  const Array one(DType::f32, {1});
  const auto refuses = [&](TensorFile file) { CHECK_THROWS_AS(write_safetensors(path, file), UsageError); };
  refuses({.tensors = {{"a b", one}}, .metadata = {}});
  refuses({.tensors = {{"", one}}, .metadata = {}});
  refuses({.tensors = {{"__metadata__", one}}, .metadata = {}});
  refuses({.tensors = {{std::string(256, 'n'), one}}, .metadata = {}});
  refuses({.tensors = {{"a", one}, {"a", one}}, .metadata = {}});
  refuses({.tensors = {{"a", Array{}}}, .metadata = {}});
  refuses({.tensors = {}, .metadata = {{"k", "\xff"}}});
  refuses({.tensors = {}, .metadata = {{"k", std::string(1 << 20, 'v')}}});
  refuses({.tensors = {}, .metadata = {{"sha256", "0"}}});
  refuses({.tensors = {}, .metadata = {{"crc32c:a", "0"}}});
  refuses({.tensors = std::vector<std::pair<std::string, Array>>(4097, {"a", one}), .metadata = {}});
  CHECK(entries_in(folder.str()) == 0);
}

TEST_CASE("an earlier file becomes the generation before", "[io]") {
  const TempFolder folder;
  const std::string path = folder / "a";
  TensorFile file;
  for (int generation = 1; generation <= 4; ++generation) {
    file.metadata["generation"] = std::to_string(generation);
    write_safetensors(path, file);
    CHECK(read_safetensors(path).metadata.at("generation") == std::to_string(generation));
    if (generation > 1)
      CHECK(read_safetensors(path + ".prev").metadata.at("generation") == std::to_string(generation - 1));
    CHECK(entries_in(folder.str()) == (generation == 1 ? 1 : 2));
  }
  // As after a crash between the two renames of a file system without hard links: `.prev` is the same file.
  REQUIRE(unlink((path + ".prev").c_str()) == 0);
  REQUIRE(link(path.c_str(), (path + ".prev").c_str()) == 0);
  file.metadata["generation"] = "5";
  write_safetensors(path, file);
  CHECK(read_safetensors(path + ".prev").metadata.at("generation") == "4");
  CHECK(entries_in(folder.str()) == 2);
}

TEST_CASE("a failed write names path and reason and leaves the old file alone", "[io]") {
  const TempFolder folder;
  const auto reason = [](const std::string& path, const TensorFile& file) -> std::string {
    try {
      write_safetensors(path, file);
    } catch (const IoError& error) {
      CHECK(std::string(error.what()).find(path) != std::string::npos);
      return error.what();
    }
    return "written";
  };
  CHECK(reason(folder / "absent/a", sample()).find("No such file or directory") != std::string::npos);
  CHECK(reason("/dev/full", sample()).find("found a device or pipe") != std::string::npos);
  CHECK(reason(folder.str(), sample()).find("found a folder") != std::string::npos);
  CHECK(reason(folder.str() + "/", sample()).find("expected the name of a file") != std::string::npos);
  CHECK(reason("/proc/a.safetensors", sample()).find("cannot write") != std::string::npos);
  if (geteuid() != 0) {
    REQUIRE(chmod(folder.str().c_str(), 0500) == 0);
    CHECK(reason(folder / "a", sample()).find("Permission denied") != std::string::npos);
    REQUIRE(chmod(folder.str().c_str(), 0700) == 0);
  }

  const std::string path = folder / "a";
  write_safetensors(path, sample());
  const std::string good = read_file(path);
  REQUIRE(mkdir((path + ".prev").c_str(), 0700) == 0);
  CHECK(reason(path, sample()).find(".prev: expected a regular file or none, found a folder") != std::string::npos);
  REQUIRE(rmdir((path + ".prev").c_str()) == 0);

  // A limit of the process stands in for the full disk: the write fails part of the way.
  TensorFile large;
  large.tensors.emplace_back("w", Array(DType::f32, {100000}));
  struct rlimit old {};
  REQUIRE(getrlimit(RLIMIT_FSIZE, &old) == 0);
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  struct rlimit small = old;
  small.rlim_cur = 150000;
  REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
  const std::string message = reason(path, large);
  REQUIRE(setrlimit(RLIMIT_FSIZE, &old) == 0);
  signal(SIGXFSZ, handler);
  CHECK(message.find("File too large") != std::string::npos);
  CHECK(read_file(path) == good);
  CHECK(entries_in(folder.str()) == 1);
}
