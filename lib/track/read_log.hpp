// Lines of a run's log, taken into a RunView.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "lib/track/text.hpp"
#include "tenon/track.hpp"

namespace tenon::track {

class LogReader {
 public:
  explicit LogReader(RunView& view) : view_(view) {}
  /// Reads what is behind `view.read_` up to the last newline. Returns whether there was anything. Throws IoError.
  bool read();

 private:
  /// What is no JSON object, or not one of ours, is passed over: a crash may have torn a line anywhere.
  void take(std::string_view line);
  /// {"t":..,"name":..,"step":..,"value":..} as the writer forms it, without a JSON parser: a log is mostly these.
  bool take_scalar(std::string_view line);
  void take_values(const Json& line, std::int64_t time);
  void take_series(const Json& line, std::int64_t time);
  void take_image(const Json& image, std::int64_t time);
  void take_confusion(const Json& confusion, std::int64_t time);
  void take_status(const Json& line, std::int64_t time);
  std::vector<Point>& points(std::string_view name);

  RunView& view_;
};

}  // namespace tenon::track
