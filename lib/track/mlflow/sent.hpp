// mlflow.json of a run's folder: what each server has been sent.
#pragma once
#include <cstdint>
#include <map>
#include <string>

#include "tenon/track.hpp"

namespace tenon::track::mlflow {

struct Sent {
  std::string run_id, experiment_id, artifact_uri, status;
  std::map<std::string, std::int64_t> points;  // how many of each metric, by its true name
  Pairs params, tags;
  std::map<std::string, std::string> files;   // SHA-256 by artifact path
  std::map<std::string, std::string> models;  // version by "<model>\n<file>"
  /// False from before the first request that adds something to after the last: a process that was killed may have sent
  /// more than it says here.
  bool certain = false;
};

/// Nothing is known of a server that is not in the file, or without a file that can be read.
[[nodiscard]] Sent read_sent(const std::string& folder, const std::string& server);
/// Replaces the entry of `server`. Throws IoError.
void write_sent(const std::string& folder, const std::string& server, const Sent& sent);

}  // namespace tenon::track::mlflow
