// One line for up to 64 steps: a column a name, null where a step lacks it.
#include "lib/track/block.hpp"

#include <algorithm>

#include "lib/track/text.hpp"

namespace tenon::track {
namespace {

/// Steps from `from` to `to`; in unsigned arithmetic, because a caller's steps may be anything.
std::int64_t distance(std::int64_t from, std::int64_t to) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(to) - static_cast<std::uint64_t>(from));
}

}  // namespace

bool Block::fits(std::int64_t step, std::span<const Run::Value> values) const {
  for (std::size_t i = 0; i < values.size(); ++i)  // a name twice in one call needs two lines
    for (std::size_t j = 0; j < i; ++j)
      if (values[i].name == values[j].name) return false;
  if (empty() || distance(first_, step) == steps_) return true;
  if (distance(first_, step) != steps_ - 1) return false;
  return std::none_of(values.begin(), values.end(), [&](const Run::Value& v) {
    return std::any_of(series_.begin(), series_.end(), [&](const Series& s) {
      return s.name == v.name && static_cast<std::int64_t>(s.values.size()) == steps_;
    });
  });
}

void Block::add(std::int64_t step, std::span<const Run::Value> values) {
  if (empty()) {
    first_ = step;
    began_ = std::chrono::steady_clock::now();
  }
  steps_ = distance(first_, step) + 1;
  for (const Run::Value& v : values) {
    auto found = std::find_if(series_.begin(), series_.end(), [&](const Series& s) { return s.name == v.name; });
    if (found == series_.end()) {
      found = series_.insert(found, Series{std::string(v.name), {}});
      found->values.reserve(most_steps);
    }
    found->values.resize(static_cast<std::size_t>(steps_ - 1));
    found->values.emplace_back(true, v.value);
  }
}

bool Block::full() const {
  return steps_ >= most_steps || (!empty() && std::chrono::steady_clock::now() - began_ >= longest_wait);
}

void Block::take(std::string& to) {
  if (empty()) return;
  to += "{\"t\":";
  add_number(to, now_ms());
  to += ",\"step\":";
  add_number(to, first_);
  to += ",\"n\":";
  add_number(to, steps_);
  to += ",\"series\":{";
  std::erase_if(series_, [](const Series& s) { return s.values.empty(); });  // names of earlier blocks only
  bool later = false;
  for (Series& s : series_) {
    s.values.resize(static_cast<std::size_t>(steps_));
    if (later) to += ',';
    later = true;
    add_string(to, s.name);
    to += ":[";
    for (std::size_t i = 0; i < s.values.size(); ++i) {
      if (i > 0) to += ',';
      if (s.values[i].first)
        add_number(to, s.values[i].second);
      else
        to += "null";
    }
    to += ']';
    s.values.clear();
  }
  to += "}}\n";
  steps_ = 0;
}

}  // namespace tenon::track
