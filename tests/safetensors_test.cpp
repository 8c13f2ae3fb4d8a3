// Weight files: what is written can be read by anyone, and whatever is not exactly what was written is refused.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>

#include "lib/io/crc32c.hpp"
#include "lib/io/sha256.hpp"
#include "tenon/error.hpp"
#include "tenon/io.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/idx_files.hpp"

using namespace tenon;
using test::read_file;
using test::TempFolder;
using test::write_file;

namespace {

TensorFile sample() {
  TensorFile file;
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  file.tensors.emplace_back("labels", Array::of(std::vector<std::uint8_t>{0, 255, 7}, {3}));
  file.tensors.emplace_back("conv.kernel", Array::of(std::vector<float>{1.5f, -0.f, nan, inf, 1e-45f, -3.f}, {1, 2, 3}));
  file.tensors.emplace_back("mean", Array::of(std::vector<double>{0.1}, {}));
  file.tensors.emplace_back("none", Array(DType::f32, {4, 0}));
  file.tensors.emplace_back("ids", Array::of(std::vector<std::int32_t>{-1, 2147483647}, {2, 1}));
  file.metadata = {{"note", "two \"words\"\n\u00e9"}, {"step", "12"}};
  return file;
}

std::string length_of(std::uint64_t n) { return {reinterpret_cast<const char*>(&n), 8}; }
std::string foreign(const std::string& header, const std::string& payload) { return length_of(header.size()) + header + payload; }

/// The message of the CheckpointError that reading gives.
std::string refusal(const std::string& path) {
  try {
    (void)read_safetensors(path);
  } catch (const CheckpointError& error) {
    CHECK(std::string(error.what()).find('\n') == std::string::npos);
    CHECK(std::string(error.what()).find(path) != std::string::npos);
    return error.what();
  }
  return "accepted";
}

bool same_bits(const Array& a, const Array& b) {
  return a.spec() == b.spec() && std::memcmp(a.bytes(), b.bytes(), a.spec().bytes()) == 0;
}

/// A file in memory under a path: thousands of rewritten ones would keep a disk busy for minutes.
class MemoryFile {
 public:
  MemoryFile() : fd_(memfd_create("weights", MFD_CLOEXEC)) { REQUIRE(fd_ >= 0); }
  ~MemoryFile() { close(fd_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  void set(const std::string& bytes) const {
    if (ftruncate(fd_, static_cast<off_t>(bytes.size())) != 0 ||
        pwrite(fd_, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
      throw std::runtime_error("memory file");
  }
  [[nodiscard]] std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  int fd_;
};

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
  CHECK(crc32c(std::string(32, '\0')) == 0x8a9136aau);   // RFC 3720, B.4
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
  CHECK(header.at("mean") == nlohmann::json{{"dtype", "F64"}, {"shape", nlohmann::json::array()}, {"data_offsets", {0, 8}}});
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
  write_file(path, foreign(R"({"b":{"shape":[2],"data_offsets":[0,8],"dtype":"F32"}, "a" : {"dtype":"U8","shape":[],"data_offsets":[8,9]},)"
                           R"("__metadata__":{"format":"pt"}}   )",
                           std::string("\0\0\x80\x3f\0\0\0\x40\x05", 9)));
  const TensorFile file = read_safetensors(path);
  REQUIRE(file.tensors.size() == 2);
  CHECK(file.tensors[0].first == "b");
  CHECK(file.tensors[0].second.at(1) == 2.0);
  CHECK(file.tensors[1].second.item() == 5.0);
  CHECK(file.metadata.at("format") == "pt");

  for (const char* type : {"F16", "BF16", "I64", "BOOL", "F8_E4M3", "f32", ""}) {
    write_file(path, foreign(std::string(R"({"x":{"dtype":")") + type + R"(","shape":[1],"data_offsets":[0,2]}})", "ab"));
    const std::string message = refusal(path);
    INFO(message);
    CHECK(message.find("tensor 'x': expected one of the supported dtypes F32, F64, U8 and I32, found " + std::string(type)) !=
          std::string::npos);
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

  const MemoryFile copy;
  const int before = open_descriptors();
  std::size_t missed = 0;
  const auto accepted = [&](const std::string& bytes) {
    copy.set(bytes);
    try {
      (void)read_safetensors(copy.path());
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

TEST_CASE("hostile headers are refused with their place", "[io]") {
  const TempFolder folder;
  const std::string path = folder / "bad";
  const auto tensor = [](const std::string& name, const std::string& shape, const std::string& offsets, const std::string& dtype = "F32") {
    return "\"" + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
  };
  const std::string x = tensor("x", "[1]", "[0,4]"), four(4, 'p'), eight(8, 'p');
  std::string many = "{";
  for (int i = 0; i < 4097; ++i) many += (i == 0 ? "" : ",") + tensor("t" + std::to_string(i), "[0]", "[0,0]");
  many += "}";
  struct Case {
    std::string bytes, message;
  };
  const std::vector<Case> cases = {
      {"", "byte 0: expected 8 bytes"},
      {length_of(0), "byte 0: expected a header of 2 to 1048576 bytes, found 0"},
      {length_of(0) + "{}", "found 0"},
      {length_of(std::uint64_t{1} << 63) + "{}", "found 9223372036854775808"},
      {length_of(~std::uint64_t{0}) + "{}", "found 18446744073709551615"},
      {length_of((1u << 20) + 1) + std::string((1u << 20) + 1, ' '), "found 1048577"},
      {length_of(3) + "{}", "at most 2 bytes in this file, found 3"},
      {foreign("  {}", ""), "byte 8: expected the header to begin with '{'"},
      {foreign("\xef\xbb\xbf{}", ""), "begin with '{'"},
      {foreign("[]", ""), "begin with '{'"},
      {foreign("{}x", ""), "spaces after it"},
      {foreign("{}\n", ""), "spaces after it"},
      {foreign(std::string("{}\0}", 4), ""), "spaces after it"},
      {foreign("{}{}", ""), "valid JSON"},
      {foreign("{" + x + ",}", four), "valid JSON"},
      {foreign("{/*c*/}", ""), "valid JSON"},
      {foreign("{\"\xff\":{}}", ""), "valid JSON in UTF-8"},
      {foreign("{\"\xc0\xaf\":{}}", ""), "valid JSON in UTF-8"},
      {foreign("{\"__metadata__\":{\"a\":\"\xed\xa0\x80\"}}", ""), "valid JSON in UTF-8"},
      {foreign("{" + x + "," + x + "}", four), "found 'x' again"},
      {foreign(R"({"__metadata__":{},"__metadata__":{}})", ""), "found '__metadata__' again"},
      {foreign(R"({"__metadata__":{"a":"1","a":"1"}})", ""), "found 'a' again"},
      {foreign(R"({"x":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})", four), "found 'dtype' again"},
      {foreign(R"({"x":{"dtype":"F32","shape":[1]}})", four), "tensor 'x': expected the field data_offsets, found none"},
      {foreign(R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"strides":[1]}})", four), "found 'strides'"},
      {foreign(R"({"__metadata__":{"a":1}})", ""), "expected a string for 'a' in __metadata__, found a number"},
      {foreign(R"({"__metadata__":{"a":{"b":"c"}}})", ""), "found an object"},
      {foreign(R"({"__metadata__":null})", ""), "found null"},
      {foreign(R"({"x":7})", ""), "expected an object for 'x', found a number"},
      {foreign("{" + tensor("x", "[[1]]", "[0,4]") + "}", four), "found an array"},
      {foreign("{" + tensor("x", "{}", "[0,4]") + "}", four), "found an object"},
      {foreign("{" + tensor("x", "[1.0]", "[0,4]") + "}", four), "not a plain integer"},
      {foreign("{" + tensor("x", "[1e0]", "[0,4]") + "}", four), "not a plain integer"},
      {foreign("{" + tensor("x", "[-1]", "[0,4]") + "}", four), "a negative number"},
      {foreign("{" + tensor("x", "[-0]", "[0,4]") + "}", four), "a negative number"},
      {foreign("{" + tensor("x", "[true]", "[0,4]") + "}", four), "a boolean"},
      {foreign("{" + tensor("x", "[\"1\"]", "[0,4]") + "}", four), "a string"},
      {foreign("{" + tensor("x", "[01]", "[0,4]") + "}", four), "valid JSON"},
      {foreign("{" + tensor("x", "[9007199254740992]", "[0,4]") + "}", four), "below 2^53, found 9007199254740992"},
      {foreign("{" + tensor("x", "[1]", "[0,9007199254740992]") + "}", four), "below 2^53"},
      {foreign("{" + tensor("x", "[1]", "[0,18446744073709551616]") + "}", four), "not a plain integer"},
      {foreign("{" + tensor("x", "[4294967296,4294967296]", "[0,4]") + "}", four), "a shape of fewer than 2^53 bytes"},
      {foreign("{" + tensor("x", "[2147483648,2147483648,4]", "[0,0]") + "}", ""), "a shape of fewer than 2^53 bytes"},
      {foreign("{" + tensor("x", "[4503599627370496,4503599627370496,0]", "[0,0]") + "}", ""), "a shape of fewer than 2^53 bytes"},
      {foreign("{" + tensor("x", "[0,4503599627370496,4503599627370496]", "[0,0]") + "}", ""), "a shape of fewer than 2^53 bytes"},
      {foreign("{" + tensor("x", "[1,1,1,1,1,1,1,1,1]", "[0,4]") + "}", four), "at most 8 extents"},
      {foreign("{" + tensor("x", "[1]", "[0,4,4]") + "}", four), "at most 2 data_offsets"},
      {foreign("{" + tensor("x", "[1]", "[4]") + "}", four), "two data_offsets, found 1"},
      {foreign("{" + tensor("x", "[1]", "[4,0]") + "}", four), "data_offsets that ascend, found 4 and 0"},
      {foreign("{" + tensor("x", "[2]", "[0,4]") + "}", four), "8 bytes for F32(2), found 4"},
      {foreign("{" + x + "," + tensor("y", "[1]", "[0,4]") + "}", four), "tensor 'y': expected data at offset 4, found 0 (an overlap)"},
      {foreign("{" + x + "," + tensor("y", "[1]", "[2,6]") + "}", eight), "an overlap"},
      {foreign("{" + tensor("x", "[1]", "[4,8]") + "}", eight), "tensor 'x': expected data at offset 0, found 4 (a hole)"},
      {foreign("{" + x + "," + tensor("y", "[0]", "[2,2]") + "}", four), "tensor 'y': expected data at offset 4, found 2"},
      {foreign("{" + x + "," + tensor("y", "[0]", "[5,5]") + "}", four), "a hole"},
      {foreign("{" + x + "}", eight), "found 8"},
      {foreign("{" + x + "}", "pp"), "expected the file to end after 4 bytes of tensors, found 2"},
      {foreign("{}", "PK\x03\x04 zip tail"), "expected the file to end after 0 bytes"},
      {foreign("{" + tensor("a b", "[1]", "[0,4]") + "}", four), "found 'a b'"},
      {foreign("{" + tensor("\\u0000", "[1]", "[0,4]") + "}", four), "a name of at most 255 bytes"},
      {foreign("{" + tensor("\\n", "[1]", "[0,4]") + "}", four), "found '?'"},
      {foreign("{" + tensor("", "[1]", "[0,4]") + "}", four), "a name of at most 255 bytes"},
      {foreign("{" + tensor(std::string(256, 'n'), "[1]", "[0,4]") + "}", four), "a name of at most 255 bytes"},
      {foreign(many, ""), "at most 4096 tensors"},
      {foreign("{\"x\":" + std::string(100000, '[') + "}", ""), "expected an object for 'x', found an array"},
      {foreign("{\"x\":" + std::string(100000, '{') + "}", ""), "valid JSON"},
      {foreign(R"({"__metadata__":{"format":"tenon"}})", ""), "expected the entry 'header_crc', found none"},
      {foreign(R"({"__metadata__":{"header_crc":"00000000"}})", ""), "expected a header with CRC 00000000"},
      {foreign(R"({"__metadata__":{"crc32c:gone":"00000000"}})", ""), "expected the entry 'header_crc', found none"},
  };
  for (const Case& c : cases) {
    write_file(path, c.bytes);
    const std::string message = refusal(path);
    INFO(message);
    INFO(c.message);
    CHECK(message.find(c.message) != std::string::npos);
    CHECK(message.size() < 700);
  }
  write_file(path, foreign("{" + tensor("z", "[0]", "[0,0]") + "," + x + "}", four));
  CHECK(read_safetensors(path).tensors.size() == 2);
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
    if (generation > 1) CHECK(read_safetensors(path + ".prev").metadata.at("generation") == std::to_string(generation - 1));
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
