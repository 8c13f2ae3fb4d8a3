// Staging, recording, replaying.
#include "lib/runtime/device_run.hpp"

#include <algorithm>
#include <cstring>

#include "lib/runtime/memory.hpp"
#include "tenon/log.hpp"

namespace tenon {
namespace {

constexpr std::size_t scalar_bytes = 8, most_scalars = 64;

std::size_t rounded(std::size_t bytes) {
  constexpr auto alignment = static_cast<std::size_t>(buffer_alignment);
  return (bytes + alignment - 1) / alignment * alignment;
}

}  // namespace

DeviceRun::DeviceRun(Backend& backend, const Plan& plan) : backend_(&backend) {
  std::size_t at = rounded(sizeof(Control));
  for (const std::int64_t bytes : plan.input_bytes) {
    inputs_.push_back({at, static_cast<std::size_t>(bytes)});
    at += rounded(static_cast<std::size_t>(bytes));
  }
  given_bytes_ = at;
  for (const Array& constant : plan.constants) {
    constants_.push_back({at, constant.spec().bytes()});
    at += rounded(constant.spec().bytes());
  }
  device_ = Slab(backend, at);
  given_ = Slab(backend, given_bytes_, SlabKind::pinned);
  taken_ = Slab(backend, rounded(sizeof(Control)) + most_scalars * scalar_bytes, SlabKind::pinned);
  std::memset(given_.data(), 0, given_bytes_);
  for (std::size_t i = 0; i < constants_.size(); ++i)
    if (constants_[i].bytes > 0) backend.upload(constant(i), plan.constants[i].bytes(), constants_[i].bytes);
  backend.synchronize();
}

void DeviceRun::bind(std::vector<std::pair<Home, const std::byte*>> scalars) {
  scalars_ = std::move(scalars);
  if (scalars_.size() > most_scalars) scalars_.resize(most_scalars);  // the others are copied when somebody asks
  recording_.reset();
  block_recordings_.clear();
  runs_ = block_runs_ = 0;
}

void DeviceRun::piece(const std::vector<Access>& accesses) {
  if (order_ != nullptr) backend_->begin_piece(order_->add(accesses));
}

void DeviceRun::upload(std::byte* to, const std::byte* from, std::size_t bytes) {
  piece({access_to(to, static_cast<std::int64_t>(bytes), AccessKind::write)});
  backend_->upload(to, from, bytes);
}
void DeviceRun::download(std::byte* to, const std::byte* from, std::size_t bytes) {
  piece({access_to(from, static_cast<std::int64_t>(bytes), AccessKind::read)});
  backend_->download(to, from, bytes);
}

void DeviceRun::enqueue(const std::function<void()>& steps) {
  upload(device_.data(), given_.data(), given_bytes_);
  steps();
  download(taken_.data(), device_.data(), sizeof(Control));
  std::byte* to = taken_.data() + rounded(sizeof(Control));
  for (const auto& [home, address] : scalars_) {
    download(to, address, scalar_bytes);
    to += scalar_bytes;
  }
}

void DeviceRun::run_or_replay(std::shared_ptr<void>& recording, int& runs, const std::function<void()>& work) {
  static const bool timed = detail::verbose("time");  // step by step, so that every one can be waited for
  if (recording != nullptr) {
    backend_->replay(recording.get());
  } else if (runs == 0 || timed) {
    work();
  } else {
    backend_->begin_capture();
    order_ = std::make_unique<RecordingOrder>();
    try {
      work();
      order_.reset();
    } catch (...) {
      order_.reset();
      // Nothing that was recorded shall run, and the stream must leave its state.
      try {
        (void)backend_->end_capture();
      } catch (const std::exception&) {
      }
      throw;
    }
    recording = backend_->end_capture();
    backend_->replay(recording.get());
  }
  ++runs;
  backend_->synchronize();
}

void DeviceRun::run(const std::vector<const std::byte*>& inputs, Control& control, const std::function<void()>& steps) {
  const std::lock_guard lock(backend_->mutex());
  std::memcpy(given_.data(), &control, sizeof control);
  for (std::size_t i = 0; i < inputs_.size(); ++i)
    std::memcpy(given_.data() + inputs_[i].at, inputs[i], inputs_[i].bytes);
  run_or_replay(recording_, runs_, [&] { enqueue(steps); });
  std::memcpy(&control, taken_.data(), sizeof control);
}

void DeviceRun::run_block(std::uint64_t feed, StepBlock& block, Control& control, int count,
                          const std::function<void(StepBlock*, int)>& step) {
  const std::lock_guard lock(backend_->mutex());
  if (feed != block_feed_) block_recordings_.clear();
  block_feed_ = feed;
  if (block_.size() == 0) {
    block_ = Slab(*backend_, sizeof block);
    block_given_ = Slab(*backend_, sizeof block, SlabKind::pinned);
  }
  std::memcpy(given_.data(), &control, sizeof control);
  std::memcpy(block_given_.data(), &block, sizeof block);
  run_or_replay(block_recordings_[count], block_runs_, [&] {
    upload(device_.data(), given_.data(), sizeof control);
    upload(block_.data(), block_given_.data(), sizeof block);
    for (int i = 0; i < count; ++i) step(reinterpret_cast<StepBlock*>(block_.data()), i);
    download(taken_.data(), device_.data(), sizeof control);
    download(block_given_.data(), block_.data(), sizeof block);
  });
  std::memcpy(&control, taken_.data(), sizeof control);
  std::memcpy(&block, block_given_.data(), sizeof block);
}

void DeviceRun::read(const Home& home, const std::byte* address, void* to, std::size_t bytes) const {
  for (std::size_t i = 0; i < scalars_.size(); ++i)
    if (scalars_[i].first == home && bytes <= scalar_bytes) {
      std::memcpy(to, taken_.data() + rounded(sizeof(Control)) + i * scalar_bytes, bytes);
      return;
    }
  const std::lock_guard lock(backend_->mutex());
  backend_->download(to, address, bytes);
  backend_->synchronize();
}

}  // namespace tenon
