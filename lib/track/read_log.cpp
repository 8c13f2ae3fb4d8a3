// The log in pieces of 1 MiB, line by line. Nothing in it is trusted: types, sizes and steps are checked.
#include "lib/track/read_log.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <nlohmann/json.hpp>

#include "lib/track/files.hpp"

namespace tenon::track {
namespace {

constexpr std::size_t piece = std::size_t{1} << 20, longest_line = std::size_t{1} << 26;

std::int64_t step_at(std::int64_t first, std::size_t i) {  // unsigned: a log may claim any first step
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(first) + i);
}

bool skip(std::string_view& text, std::string_view expected) {
  if (!text.starts_with(expected)) return false;
  text.remove_prefix(expected.size());
  return true;
}

template <class Number>
bool take_number(std::string_view& text, Number& number) {
  const std::size_t sign = text.starts_with('-') ? 1 : 0;  // from_chars would take "inf" too
  if (text.size() <= sign || text[sign] < '0' || text[sign] > '9') return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

}  // namespace

bool LogReader::read() {
  const std::string path = view_.folder + "/log.jsonl";
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd && errno == ENOENT) return false;  // the run is just being made
  if (!fd) fail_io("open", path, errno);
  std::string text;
  const std::uint64_t before = view_.read_;
  for (;;) {
    const std::size_t have = text.size();
    text.resize(have + piece);
    int error = 0;
    const std::size_t n = pread_all(fd.get(), text.data() + have, piece, view_.read_ + have, error);
    if (error != 0) fail_io("read", path, error);
    text.resize(have + n);
    std::size_t begin = 0;
    for (std::size_t end = text.find('\n', have); end != std::string::npos; end = text.find('\n', begin)) {
      take(std::string_view(text).substr(begin, end - begin));
      begin = end + 1;
    }
    if (begin == 0 && text.size() > longest_line) begin = text.size();  // the rest of it will be no JSON
    text.erase(0, begin);
    view_.read_ += begin;
    if (n < piece) break;
  }
  return view_.read_ != before;
}

void LogReader::take(std::string_view line) {
  if (take_scalar(line)) return;
  const Json json = Json::parse(line.begin(), line.end(), nullptr, false);
  if (!json.is_object()) return;
  const std::int64_t time = integer_of(json, "t", view_.last_written);
  const auto member = [&](const char* name) {
    const auto found = json.find(name);
    return found != json.end() && found->is_object() ? &*found : nullptr;
  };
  if (json.contains("status")) return take_status(json, time);
  view_.last_written = std::max(view_.last_written, time);
  if (json.contains("name")) take_values(json, time);
  if (member("series") != nullptr) take_series(json, time);
  if (const Json* image = member("image")) take_image(*image, time);
  if (const Json* confusion = member("confusion")) take_confusion(*confusion, time);
  for (const auto& [name, value] : pairs_of(json, "params")) put(view_.params, name, value);
  for (const auto& [name, value] : pairs_of(json, "tags")) put(view_.tags, name, value);
}

bool LogReader::take_scalar(std::string_view line) {
  Point point;
  if (!skip(line, "{\"t\":") || !take_number(line, point.time) || !skip(line, ",\"name\":\"")) return false;
  const std::size_t quote = line.find('"');
  if (quote == std::string_view::npos) return false;
  const std::string_view name = line.substr(0, quote);
  // Escapes, and the plane that stands for bytes, need the whole reader.
  if (std::any_of(name.begin(), name.end(), [](char c) { return c == '\\' || c == '\xF4'; })) return false;
  line.remove_prefix(quote);
  if (!skip(line, "\",\"step\":") || !take_number(line, point.step) || !skip(line, ",\"value\":")) return false;
  if (!take_number(line, point.value) || line != "}") return false;
  view_.last_written = std::max(view_.last_written, point.time);
  points(name).push_back(point);
  return true;
}

void LogReader::take_values(const Json& line, std::int64_t time) {
  if (!line["name"].is_string()) return;
  const std::string name = string_of(line, "name");
  const std::int64_t step = integer_of(line, "step");
  Point point{step, 0, time};
  if (const auto value = line.find("value"); value != line.end() && number_of(*value, point.value))
    points(name).push_back(point);
  const auto values = line.find("values");
  if (values == line.end() || !values->is_array()) return;
  for (std::size_t i = 0; i < values->size(); ++i)
    if (number_of((*values)[i], point.value)) {
      point.step = step_at(step, i);
      points(name).push_back(point);
    }
}

void LogReader::take_series(const Json& line, std::int64_t time) {
  const std::int64_t step = integer_of(line, "step");
  for (const auto& [text, values] : line["series"].items()) {
    if (!values.is_array()) continue;
    const std::string name = from_utf8(text);
    Point point{step, 0, time};
    for (std::size_t i = 0; i < values.size(); ++i)
      if (number_of(values[i], point.value)) {
        point.step = step_at(step, i);
        points(name).push_back(point);
      }
  }
}

void LogReader::take_image(const Json& image, std::int64_t time) {
  const std::string file = string_of(image, "file");
  // The writer's own names have one slash; anything else is no image of this run.
  if (!file.starts_with("images/") || file.find('/', 7) != std::string::npos || file.size() == 7) return;
  view_.images.push_back(
      {string_of(image, "name"), file, string_of(image, "caption"), integer_of(image, "step"), time});
}

void LogReader::take_confusion(const Json& confusion, std::int64_t time) {
  const auto labels = confusion.find("labels"), counts = confusion.find("counts");
  if (labels == confusion.end() || counts == confusion.end() || !labels->is_array() || !counts->is_array()) return;
  if (labels->empty() || counts->size() / labels->size() != labels->size() || counts->size() % labels->size() != 0)
    return;
  ConfusionEntry entry{string_of(confusion, "name"), {}, {}, time};
  for (const Json& label : *labels) entry.labels.push_back(string_of(label));
  for (const Json& count : *counts) entry.counts.push_back(count.is_number_integer() ? count.get<std::int64_t>() : 0);
  view_.confusions.push_back(std::move(entry));
}

void LogReader::take_status(const Json& line, std::int64_t time) {
  const std::string word = string_of(line, "status");
  for (const Status status : {Status::completed, Status::failed, Status::crashed})
    if (word == name_of(status)) {
      view_.status = status;
      view_.ended_ = true;
    }
  if (!view_.ended_) return;
  view_.reason = string_of(line, "reason");
  // A crash is noticed later than it happens: then the last line before it is the end.
  if (view_.status != Status::crashed) view_.last_written = std::max(view_.last_written, time);
  view_.ended = view_.last_written;
}

std::vector<Point>& LogReader::points(std::string_view name) {
  auto found = view_.index_.find(name);
  if (found == view_.index_.end()) {
    found = view_.index_.emplace(std::string(name), view_.metrics.size()).first;
    view_.metrics.push_back({std::string(name), {}});
  }
  return view_.metrics[found->second].points;
}

}  // namespace tenon::track
