// Small IDX files, gzip streams and folders that vanish: what the data tests feed to the readers.
#pragma once
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <span>
#include <stdexcept>
#include <string>

namespace tenon::test {

/// A fresh folder under the system's temporary one, removed at the end.
class TempFolder {
 public:
  TempFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "tenon-test-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp");
    path_ = pattern;
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  [[nodiscard]] std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  [[nodiscard]] std::string str() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

/// Sets an environment variable (nullptr: unsets it) and puts the old value back.
class Env {
 public:
  Env(const char* name, const char* value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old, had_ = true;
    value != nullptr ? setenv(name, value, 1) : unsetenv(name);
  }
  ~Env() { had_ ? setenv(name_, old_.c_str(), 1) : unsetenv(name_); }
  Env(const Env&) = delete;
  Env& operator=(const Env&) = delete;

 private:
  const char* name_;
  std::string old_;
  bool had_ = false;
};

inline void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream out(path, std::ios::binary);
  out << bytes;
  if (!out.flush()) throw std::runtime_error("cannot write " + path);
}

inline std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline std::span<const std::byte> bytes_of(const std::string& s) { return std::as_bytes(std::span(s)); }

/// Magic and extents of an IDX file, big-endian.
inline std::string idx_header(std::initializer_list<std::uint32_t> words) {
  std::string out;
  for (const std::uint32_t w : words)
    for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(w >> shift & 255);
  return out;
}

/// `n` images of 28x28; pixel i is (7 * i) mod 251.
inline std::string idx_images(std::uint32_t n) {
  std::string out = idx_header({0x803, n, 28, 28});
  for (std::uint32_t i = 0; i < n * 784; ++i) out += static_cast<char>(7 * i % 251);
  return out;
}

/// `n` labels 0, 1, ... 9, 0, ...
inline std::string idx_labels(std::uint32_t n) {
  std::string out = idx_header({0x801, n});
  for (std::uint32_t i = 0; i < n; ++i) out += static_cast<char>(i % 10);
  return out;
}

/// One gzip member.
inline std::string gz(const std::string& content) {
  z_stream z{};
  if (deflateInit2(&z, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK)
    throw std::runtime_error("deflateInit2");
  std::string out(deflateBound(&z, static_cast<uLong>(content.size())) + 64, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
  z.avail_in = static_cast<uInt>(content.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  const int code = deflate(&z, Z_FINISH);
  out.resize(z.total_out);
  deflateEnd(&z);
  if (code != Z_STREAM_END) throw std::runtime_error("deflate");
  return out;
}

/// Four small files under MNIST's names: `train` and `test` samples.
inline void write_mnist(const std::string& folder, std::uint32_t train, std::uint32_t test) {
  std::filesystem::create_directories(folder);
  write_file(folder + "/train-images-idx3-ubyte", idx_images(train));
  write_file(folder + "/train-labels-idx1-ubyte.gz", gz(idx_labels(train)));
  write_file(folder + "/t10k-images-idx3-ubyte.gz", gz(idx_images(test)));
  write_file(folder + "/t10k-labels-idx1-ubyte", idx_labels(test));
}

}  // namespace tenon::test
