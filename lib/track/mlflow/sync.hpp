// One call of sync_mlflow, step by step.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <tuple>

#include "lib/track/mlflow/client.hpp"
#include "lib/track/mlflow/sent.hpp"

namespace tenon::track::mlflow {

class Sync {
 public:
  Sync(const RunView& run, const MlflowOptions& options);
  MlflowResult run_all();

 private:
  // run.cpp: which run it is on the server, and what it is called
  void find_run();
  [[nodiscard]] std::string find_experiment();
  [[nodiscard]] std::string search_run(const std::string& experiment_id);
  [[nodiscard]] std::string create_run(const std::string& experiment_id);
  void take_what_is_there(const Json& run);
  void send_params();
  void send_tags();
  [[nodiscard]] Pairs wanted_tags() const;
  void send_status();
  // sync.cpp
  void send_metrics();
  void send_points();
  using History = std::map<std::tuple<std::int64_t, std::int64_t, std::uint64_t>, int>;
  [[nodiscard]] History history_of(const std::string& metric);
  // artifacts.cpp
  void send_files();
  void send_file(const std::string& name, const std::string& path, const std::string& sha256);
  void register_model();
  [[nodiscard]] std::string model_file() const;

  void save() { write_sent(run_.folder, client_.address().base, sent_); }
  /// Before the first request that adds something.
  void begin();
  void post_batch(const char* member, const std::string& items);

  const RunView& run_;
  const MlflowOptions& options_;
  Client client_;
  Sent sent_;
  MlflowResult result_;
  bool ask_ = false;     // the server may have more than sent_ says
  bool begun_ = false;   // sent_.certain is false in the file
  bool warned_ = false;  // of artifacts that stay here
};

/// JSON of one entry {"key":..,"value":..}.
void add_entry(std::string& to, const std::string& key, const std::string& value);

}  // namespace tenon::track::mlflow
