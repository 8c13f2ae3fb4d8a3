// What a process knows of itself, for the record of a run.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "tenon/track.hpp"

namespace tenon::track {

struct AboutProcess {
  std::vector<std::string> command_line;
  std::string working_folder, host, user;
  std::int64_t pid = 0;
  Pairs environment;  // os, cpu, cores
};
/// What cannot be found out is left empty.
[[nodiscard]] AboutProcess about_process();

}  // namespace tenon::track
