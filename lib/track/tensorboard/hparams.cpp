// Events of TensorBoard's page of hyper-parameters. They carry no data: everything is in the tag's metadata.
#include <charconv>
#include <cmath>
#include <optional>

#include "lib/track/tensorboard/message.hpp"
#include "lib/track/text.hpp"

namespace tenon::track::tensorboard {
namespace {

constexpr int text_type = 1, bool_type = 2, number_type = 3;  // of a hyper-parameter
constexpr int success = 1, failure = 2;                       // of a session
constexpr int float_type = 1, tensor_class = 2;

double seconds(std::int64_t ms) { return static_cast<double>(ms) / 1000; }

/// A finite number that is all of `text`.
std::optional<double> number_in(const std::string& text) {
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || at != end || !std::isfinite(value)) return {};
  return value;
}

int type_of(const std::string& text) {
  if (text == "true" || text == "false") return bool_type;
  return number_in(text) ? number_type : text_type;
}

/// `field`: of the one kind of content that the message holds.
std::string hparams_event(std::int64_t time, std::string_view tag, int field, const Message& content) {
  const Message metadata = metadata_of("hparams", Message().integer(1, 0).message(field, content), tensor_class);
  Message tensor;  // an empty list
  tensor.integer(1, float_type).message(2, Message().message(2, Message().integer(1, 0)));
  return summary_event({time, 0}, tag, &metadata, tensor);
}

}  // namespace

std::string session_start_event(const RunView& run) {
  Message start;
  for (const auto& [name, text] : run.params) {
    Message value;
    switch (type_of(text)) {
      case bool_type:
        value.integer(4, text == "true" ? 1 : 0);
        break;
      case number_type:
        value.float64(2, number_in(text).value_or(0));
        break;
      default:
        value.text(3, to_utf8(text));
    }
    start.message(1, Message().text(1, to_utf8(name)).message(2, value));
  }
  start.text(4, run.id).float64(5, seconds(run.started));
  return hparams_event(run.started, "_hparams_/session_start_info", 3, start);
}

std::string experiment_event(const RunView& run) {
  Message experiment;
  experiment.text(6, to_utf8(run.experiment)).float64(3, seconds(run.started));
  for (const auto& [name, text] : run.params)
    experiment.message(4, Message().text(1, to_utf8(name)).integer(4, type_of(text)));
  for (const Metric& metric : run.metrics)
    experiment.message(5, Message().message(1, Message().text(2, to_utf8(metric.name))));
  return hparams_event(run.started, "_hparams_/experiment", 2, experiment);
}

std::string session_end_event(const RunView& run) {
  const int status = run.status == Status::completed ? success : failure;
  return hparams_event(run.ended, "_hparams_/session_end_info", 4,
                       Message().integer(1, status).float64(2, seconds(run.ended)));
}

}  // namespace tenon::track::tensorboard
