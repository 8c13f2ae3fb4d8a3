// The order of a sync: what names the run comes first, what says that it has ended comes last.
#include "lib/track/mlflow/sync.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "lib/track/files.hpp"
#include "lib/track/mlflow/names.hpp"

namespace tenon::track {

MlflowResult sync_mlflow(const RunView& run, const MlflowOptions& options) {
  static_cast<void>(mlflow::parse_uri(options.uri));  // before anything is written
  const FileLock lock = FileLock::wait(run.folder + "/mlflow.lock");
  return mlflow::Sync(run, options).run_all();
}

namespace mlflow {

Sync::Sync(const RunView& run, const MlflowOptions& options)
    : run_(run), options_(options), client_(options), sent_(read_sent(run.folder, client_.address().base)) {
  if (!options.registered_model.empty()) static_cast<void>(model_file());
}

MlflowResult Sync::run_all() {
  find_run();
  send_params();
  send_tags();
  send_metrics();
  if (run_.status != Status::running) send_files();
  if (!options_.registered_model.empty()) register_model();
  send_status();
  if (begun_) {
    sent_.certain = true;
    save();
  }
  result_.run_id = sent_.run_id;
  result_.experiment_id = sent_.experiment_id;
  result_.requests = client_.requests();
  return result_;
}

void Sync::begin() {
  if (begun_) return;
  begun_ = true;
  sent_.certain = false;
  save();
}

void add_entry(std::string& to, const std::string& key, const std::string& value) {
  to += to.empty() ? "{\"key\":" : ",{\"key\":";
  add_string(to, key);
  to += ",\"value\":";
  add_string(to, value);
  to += '}';
}

void Sync::post_batch(const char* member, const std::string& items) {
  begin();
  std::string body = "{\"run_id\":";
  add_string(body, sent_.run_id);
  // Points would be there twice if a request was carried out whose answer was lost: send_metrics looks before it repeats.
  const bool twice_matters = std::string_view(member) == "metrics";
  body = fmt::format("{},\"{}\":[{}]}}", body, member, items);
  if (twice_matters)
    client_.post_single("mlflow/runs/log-batch", body);
  else
    client_.post("mlflow/runs/log-batch", body);
}

namespace {

constexpr std::size_t max_points = 1'000, max_bytes = 900'000;  // of a request: MLflow's limits are 1,000 and 1 MB

/// Bits that tell apart what MLflow can: its SQL stores have no infinities, and one zero and one NaN are enough.
std::uint64_t bits_of(double value) {
  if (std::isnan(value)) value = std::numeric_limits<double>::quiet_NaN();
  if (std::isinf(value)) value = std::copysign(std::numeric_limits<double>::max(), value);
  if (value == 0) value = 0;
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

}  // namespace

Sync::History Sync::history_of(const std::string& metric) {
  History history;
  std::string token;
  for (int page = 0; page < 100'000; ++page) {
    std::vector<std::pair<std::string, std::string>> query{
        {"run_id", sent_.run_id}, {"metric_key", metric}, {"max_results", "20000"}};
    if (!token.empty()) query.emplace_back("page_token", token);
    const Json json = client_.get("mlflow/metrics/get-history", query);
    if (const auto points = json.find("metrics"); points != json.end() && points->is_array())
      for (const Json& point : *points) {
        double value = 0;
        if (!point.is_object() || !point.contains("value") || !number_of(point["value"], value)) continue;
        ++history[{integer_of(point, "step"), integer_of(point, "timestamp"), bits_of(value)}];
      }
    token = string_of(json, "next_page_token");
    if (token.empty()) return history;
  }
  throw IoError(fmt::format("[mlflow] {}: expected an end of the history", shown(client_.address().base)));
}

void Sync::send_metrics() {
  for (Attempts attempts = client_.attempts();;) {
    const std::int64_t before = result_.metrics_sent;
    try {
      return send_points();
    } catch (const Passing& passing) {
      if (result_.metrics_sent != before) attempts.restart();
      attempts.wait_or_throw(passing);
      ask_ = true;
    }
  }
}

void Sync::send_points() {
  std::string items;
  std::size_t count = 0;
  std::map<std::string, std::int64_t> reached;  // once `items` is sent
  const auto flush = [&] {
    if (count != 0) post_batch("metrics", items);
    if (reached.empty()) return;
    for (const auto& [name, points] : reached) sent_.points[name] = points;
    result_.metrics_sent += static_cast<std::int64_t>(count);
    items.clear();
    reached.clear();
    count = 0;
    begin();
    save();
  };
  for (const Metric& metric : run_.metrics) {
    const auto size = static_cast<std::int64_t>(metric.points.size());
    const std::int64_t first = std::clamp<std::int64_t>(sent_.points[metric.name], 0, size);
    if (first == size) continue;
    const std::string key = name_for(metric.name);
    History there;
    if (ask_) there = history_of(key);
    for (std::int64_t i = first; i < size; ++i) {
      const Point& point = metric.points[static_cast<std::size_t>(i)];
      reached[metric.name] = i + 1;
      if (const auto found = there.find({point.step, point.time, bits_of(point.value)});
          found != there.end() && found->second > 0) {
        --found->second;
        continue;
      }
      items += items.empty() ? "{\"key\":" : ",{\"key\":";
      add_string(items, key);
      items += ",\"value\":";
      add_number(items, point.value);
      items += ",\"timestamp\":";
      add_number(items, point.time);
      items += ",\"step\":";
      add_number(items, point.step);
      items += '}';
      if (++count == max_points || items.size() > max_bytes) flush();
    }
  }
  flush();
}

}  // namespace mlflow
}  // namespace tenon::track
