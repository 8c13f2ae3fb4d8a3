// The log of a run: text that only grows, one write(2) a line or block.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "lib/io/file.hpp"

namespace tenon::track {

/// A failing write never stops the program unless `strict`: what could not be written, at most 1 MiB, is tried again
/// with the next line, and one warning goes to the library's log. Lines beyond that are lost; once writing works
/// again, a line {"lost":n} says how many bytes they were.
class Journal {
 public:
  static constexpr std::size_t most_pending = std::size_t{1} << 20;

  /// Opens or makes the file. A last line that a crash has torn is ended first, so that it stays a line of its own.
  /// Throws IoError.
  Journal(std::string path, bool strict);
  /// `lines` ends with a newline. Throws IoError if strict.
  void write(std::string_view lines);
  /// On the disk when it returns; failures are as those of write().
  void sync();

 private:
  /// Writes what is pending, then `lines`. False: it failed, and what was not written is pending.
  bool put(std::string_view lines);
  void failed(int error, const char* what);

  std::string path_;
  UniqueFd fd_;
  std::string pending_;     // begins in the middle of a line when a write was cut short there
  std::uint64_t lost_ = 0;  // bytes
  bool strict_, warned_ = false;
};

}  // namespace tenon::track
