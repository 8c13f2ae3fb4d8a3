// The file that keeps which row runs which problem: JSON,
//   {"library": "0.1.0", "device": "cpu: ...", "threads": 2, "precision": "tf32", "providers": "",
//    "choices": [{"problem": "conv2d ...", "row": "cpu.avx2/tf32", "us": {"cpu.avx2/tf32": 812.3, "cpu.avx2": 1020.1}}]}
#pragma once
#include <string>
#include <utility>
#include <vector>

namespace tenon {

struct TuneChoice {
  std::string problem, row;
  std::vector<std::pair<std::string, double>> microseconds;  // of each row that was timed; empty where there was one
};

/// What choices hold for.
struct TuneContext {
  std::string library, device;
  int threads = 0;
  std::string precision, providers;
  friend bool operator==(const TuneContext&, const TuneContext&) = default;
  /// One line for messages.
  [[nodiscard]] std::string str() const;
};

struct TuneFile {
  TuneContext context;
  std::vector<TuneChoice> choices;
};

/// Replaces `path` atomically; the file that was there becomes `path`.prev. Throws IoError.
void write_tune_file(const std::string& path, const TuneFile&);

/// The choices are read where the file's context is `here`; those of another library may have another form. Throws IoError
/// where the file cannot be opened or read, DataError where it is no such file. Rows and problems are not checked.
[[nodiscard]] TuneFile read_tune_file(const std::string& path, const TuneContext& here);

}  // namespace tenon
