// A CUDA device as a backend: the module's kernels as rows, its memory, its graphs.
#include "kernels/cuda/backend.hpp"

#include <fmt/format.h>

#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "kernels/bind/rows.hpp"
#include "kernels/cuda/open_module.hpp"
#include "tenon/error.hpp"

namespace tenon::cuda {
namespace {

void check(const Answer& a) {
  if (a.code != Code::ok) throw DeviceError(fmt::format("[cuda] {}", a.text));
}

/// What a row of a library finds in Kernel::impl.
struct LibraryBinding {
  Device* device;
  const LibraryRow* row;
};

Bound bind_library(const Problem& p, const Kernel& kernel) {
  const auto& [device, row] = *static_cast<const LibraryBinding*>(kernel.impl);
  LibraryStep step;
  Text why;
  if (!row->bind(device, p, &step, &why)) return Refusal{why.text};
  return Step{step.run, std::shared_ptr<const void>(step.state, step.destroy), step.workspace};
}

class CudaBackend final : public Backend {
 public:
  explicit CudaBackend(int ordinal) : module_(open_module()), ordinal_(ordinal) {
    check(module_.open(ordinal, &device_, &info_));
    for (const Contractions* c : {module_.fp16, module_.bf16, module_.tf32, module_.tiled})
      append_contraction_rows(table_, *c);
    bind::append_rows(table_, *module_.loops);
    append_contraction_rows(table_, *module_.naive);
    append_library_rows();
  }
  ~CudaBackend() override { module_.close(device_); }
  CudaBackend(const CudaBackend&) = delete;
  CudaBackend& operator=(const CudaBackend&) = delete;

  [[nodiscard]] std::string name() const override { return ordinal_ == 0 ? "cuda" : fmt::format("cuda:{}", ordinal_); }
  [[nodiscard]] std::string description() const override {
    return fmt::format("{}, compute capability {}.{}, {:.0f} GiB, driver for CUDA {}.{}", info_.name, info_.major,
                       info_.minor, static_cast<double>(info_.memory) / (1 << 30), info_.driver / 1000,
                       info_.driver % 1000 / 10) +
           (missing_libraries_.empty() ? "" : "; without " + missing_libraries_);
  }
  [[nodiscard]] const KernelTable& kernels() const override { return table_; }
  [[nodiscard]] int default_threads() const override { return 1; }
  [[nodiscard]] bool canonical() const override { return true; }
  /// From what the device says of itself: 128 lanes a multiprocessor and an FMA a clock; two transfers a clock of the memory.
  [[nodiscard]] Peak peak(int) const override {
    return {.flops = 256e3 * info_.multiprocessors * info_.clock_khz,
            .bandwidth = 2e3 * info_.memory_khz * (info_.memory_bits / 8.)};
  }

  [[nodiscard]] bool on_host() const override { return false; }
  [[nodiscard]] void* allocate(std::size_t bytes) override {
    void* memory = nullptr;
    check(module_.allocate(device_, bytes, &memory));
    return memory;
  }
  void release(void* memory) noexcept override { module_.release(device_, memory); }
  [[nodiscard]] void* allocate_pinned(std::size_t bytes) override {
    void* memory = nullptr;
    check(module_.allocate_pinned(device_, bytes, &memory));
    return memory;
  }
  void release_pinned(void* memory) noexcept override { module_.release_pinned(device_, memory); }
  void upload(void* to, const void* from, std::size_t bytes) override {
    check(module_.upload(device_, to, from, bytes));
  }
  void download(void* to, const void* from, std::size_t bytes) override {
    check(module_.download(device_, to, from, bytes));
  }
  void clear(void* memory, std::size_t bytes) override { check(module_.clear(device_, memory, bytes)); }
  void synchronize() override { check(module_.synchronize(device_)); }

  [[nodiscard]] void* stream() const override { return module_.stream(device_); }
  void begin_capture() override { check(module_.begin_capture(device_)); }
  void begin_piece(std::span<const std::int32_t> after) override {
    check(module_.begin_piece(device_, after.data(), static_cast<std::int32_t>(after.size())));
  }
  [[nodiscard]] std::shared_ptr<void> end_capture() override {
    Graph* graph = nullptr;
    check(module_.end_capture(device_, &graph));
    return {graph, [this](void* g) { module_.release_graph(device_, static_cast<Graph*>(g)); }};
  }
  [[nodiscard]] StepBlockLoops step_block_loops() const override { return module_.step_block; }
  void replay(void* recording) override { check(module_.replay(device_, static_cast<Graph*>(recording))); }

 private:
  /// A library's fp32 rows stand last: they keep no canonical order, and are for who asks for them.
  void append_library_rows() {
    const LibraryRow* rows = nullptr;
    Text missing;
    const std::int32_t count = module_.library_rows(device_, &rows, &missing);
    bindings_.reserve(static_cast<std::size_t>(count));
    for (std::int32_t i = 0; i < count; ++i) {
      bindings_.push_back({device_, rows + i});
      table_.push_back(
          {rows[i].op, rows[i].provider, false, false, {}, bind_library, &bindings_.back(), rows[i].precision});
    }
    missing_libraries_ = missing.text;
  }

  const Module& module_;
  int ordinal_;
  std::vector<LibraryBinding> bindings_;
  std::string missing_libraries_;
  Device* device_ = nullptr;
  DeviceInfo info_;
  KernelTable table_;
};

}  // namespace

Backend& device_backend(int ordinal) {
  // Never destroyed: values of a program may outlive main's statics, and the driver takes everything back at its end.
  static std::mutex mutex;
  static auto& devices = *new std::map<int, std::unique_ptr<CudaBackend>>;
  const std::lock_guard lock(mutex);
  std::unique_ptr<CudaBackend>& device = devices[ordinal];
  if (device == nullptr) device = std::make_unique<CudaBackend>(ordinal);
  return *device;
}

}  // namespace tenon::cuda
