// Lines of JSON in blocks. A crash costs the block that was being gathered, never a line that was written.
#include "lib/train/hooks/format.hpp"
#include "lib/train/hooks/log_file.hpp"
#include "tenon/hooks.hpp"

namespace tenon {
namespace {

using namespace detail;
constexpr int most_lines = 64;
constexpr auto longest_wait = std::chrono::milliseconds(200);

void add_figures(std::string& text, std::span<const NamedValue> figures) {
  for (const NamedValue& f : figures) text += fmt::format(",{}:{}", json_string(f.name), json_number(f.value));
}

}  // namespace

JsonlLog::JsonlLog(const std::string& path, bool append)
    : file_(std::make_unique<LogFile>(path, append)), flushed_(std::chrono::steady_clock::now()) {}
JsonlLog::~JsonlLog() { flush(); }

void JsonlLog::log(std::string_view name, double value) {
  block_ += fmt::format("{{{}:{}}}\n", json_string(name), json_number(value));
  flush();
}

void JsonlLog::log(std::string_view name, std::span<const double> values) {
  block_ += fmt::format("{{{}:[", json_string(name));
  for (std::size_t i = 0; i < values.size(); ++i) block_ += (i == 0 ? "" : ",") + json_number(values[i]);
  block_ += "]}\n";
  flush();
}

void JsonlLog::on_steps(std::span<const StepRecord> records, TrainControl&) {
  for (const StepRecord& r : records) {
    block_ += fmt::format("{{\"step\":{},\"epoch\":{},\"loss\":{}", r.step, r.epoch, json_number(r.loss));
    add_figures(block_, r.metrics);
    block_ += fmt::format(",\"lr\":{}}}\n", json_number(r.learning_rate));
    if (++lines_ == most_lines) flush();
  }
  if (std::chrono::steady_clock::now() - flushed_ >= longest_wait) flush();
}

void JsonlLog::on_epoch(const EpochRecord& e, TrainControl&) {
  block_ += fmt::format("{{\"epoch\":{},\"steps\":{},\"seconds\":{}", e.epoch, e.steps, json_number(e.seconds));
  add_figures(block_, figures_of(e));
  block_ += fmt::format(",\"lr\":{}}}\n", json_number(e.learning_rate));
  flush();
}

void JsonlLog::on_end(const Summary&) { flush(); }

void JsonlLog::flush() {
  file_->write(block_);
  block_.clear();
  lines_ = 0;
  flushed_ = std::chrono::steady_clock::now();
}

}  // namespace tenon
