// Minibatch records on their way to the hooks: in blocks of up to 64 steps or 200 ms, or one by one where a hook asks.
#pragma once
#include <chrono>
#include <vector>

#include "tenon/train.hpp"

namespace tenon {

class RecordBlock {
 public:
  RecordBlock(const std::vector<Hook*>& hooks, TrainControl& control) : hooks_(hooks), control_(control) {
    for (const Hook* h : hooks) every_step_ = every_step_ || h->every_step();
    records_.reserve(most);
  }

  /// Copies the record with its metrics, whose memory the next step reuses.
  void add(const StepRecord& r) {
    if (hooks_.empty()) return;
    if (metrics_.empty()) metrics_.resize(most * r.metrics.size());
    NamedValue* to = metrics_.data() + records_.size() * r.metrics.size();
    std::copy(r.metrics.begin(), r.metrics.end(), to);
    records_.push_back(r);
    records_.back().metrics = {to, r.metrics.size()};
    const auto now = std::chrono::steady_clock::now();
    if (every_step_ || records_.size() == most || now - flushed_ > std::chrono::milliseconds(200)) flush();
  }

  void flush() {
    if (!records_.empty())
      for (Hook* h : hooks_) h->on_steps(records_, control_);
    records_.clear();
    flushed_ = std::chrono::steady_clock::now();
  }

 private:
  static constexpr std::size_t most = 64;
  const std::vector<Hook*>& hooks_;
  TrainControl& control_;
  bool every_step_ = false;
  std::vector<StepRecord> records_;
  std::vector<NamedValue> metrics_;
  std::chrono::steady_clock::time_point flushed_ = std::chrono::steady_clock::now();
};

}  // namespace tenon
