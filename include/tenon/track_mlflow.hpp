// A run for an MLflow server, over its REST API: at the end, during the run, or much later from a run that was made
// without a network.
#pragma once
#include <cstdint>
#include <string>

#include "tenon/track.hpp"

namespace tenon::track {

struct MlflowOptions {
  /// http://host:5000 or https://. A token comes from $MLFLOW_TRACKING_TOKEN, else name and password from
  /// $MLFLOW_TRACKING_USERNAME and $MLFLOW_TRACKING_PASSWORD, else from the URI; none of them is ever shown or kept.
  std::string uri;
  std::string registered_model;  // registers `model_file` as a version of this model, if not empty
  std::string model_file;        // a file of the run, with or without outputs/
  std::string alias;             // of that version, if not empty
  int attempts = 5;              // of a request that fails for a while (no connection, 408, 429, 5xx)
  double patience = 60;          // seconds after which a request that failed is not tried again
  /// Files may be copied into a folder that the server names (file:...) if it runs on this machine.
  bool local_artifacts = false;
};

struct MlflowResult {
  std::string run_id, experiment_id, model_version;
  std::int64_t metrics_sent = 0, params_sent = 0, tags_sent = 0, files_sent = 0;
  std::int64_t requests = 0;  // all of them, those that were tried again too
};

/// Brings the server up to date with the run: experiment, parameters, tags, every point of every metric, status; of a
/// run that has ended the files, images and report too. What is there already is not sent again: `mlflow.json` in the
/// run's folder says what was sent to which server, and where it is lost or a call was cut short the server is asked.
///
/// What MLflow cannot hold: an infinity comes back as +-1.797e308 from its SQL store; names other than
/// [A-Za-z0-9_.- :/] of at most 250 bytes get a name like `lr____-1a2b3c4d` and the tag `tenon.name.<that>` with the
/// true one; parameters over 6,000 bytes and tags over 5,000 are cut; a parameter that changes keeps its first value.
///
/// Throws IoError with the server's words, UsageError for a URI that is no http(s) URI, a model file that the run does
/// not have, and in a build without libcurl.
MlflowResult sync_mlflow(const RunView& run, const MlflowOptions& options);

}  // namespace tenon::track
