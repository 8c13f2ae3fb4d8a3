// A text file that grows by whole blocks, one write(2) each. It is opened by the first block. A block that cannot be
// written is lost, and said once; the next one is tried again, on a line of its own.
#pragma once
#include <string>
#include <string_view>

#include "lib/io/file.hpp"

namespace tenon::detail {

class LogFile {
 public:
  LogFile(std::string path, bool append) : path_(std::move(path)), append_(append) {}
  void write(std::string_view block);

 private:
  void warn(int error);

  std::string path_;
  bool append_, torn_ = false, warned_ = false;
  UniqueFd fd_;
};

}  // namespace tenon::detail
