// The folder of a run's event files: who writes there, and how the next file is called.
#pragma once
#include <string>
#include <vector>

#include "lib/track/files.hpp"

namespace tenon::track::tensorboard {

/// Held while one writer follows the run.
struct Place {
  /// Makes <run>/tensorboard where it is not. Throws IoError, and UsageError while another writer holds it.
  static Place take(const std::string& run_folder);

  std::string folder;
  std::vector<std::string> earlier;  // event files that are there
  std::string next;                  // the name, without the folder, of the new one: sorts behind all others
  FileLock lock;
};

}  // namespace tenon::track::tensorboard
