// A device that has nothing but the libraries' rows, over the fakes: what the backend makes of LibraryRow, without a module and
// without a runtime. Its memory is the host's, its stream a number.
#pragma once
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda/library_rows.hpp"
#include "kernels/cuda/module_device.hpp"
#include "tenon/backend.hpp"
#include "tests/cuda_libraries/fake_of.hpp"

namespace tenon::tests {

class LibraryDevice final : public Backend {
 public:
  static constexpr int ordinal = 3;

  /// With the libraries that the two variables name then; an empty name leaves the search to dlopen.
  explicit LibraryDevice(const std::string& dnn_path = fake_cudnn_path,
                         const std::string& blas_path = fake_cublas_path) {
    setenv("TENON_CUDNN_LIBRARY", dnn_path.c_str(), 1);
    setenv("TENON_CUBLAS_LIBRARY", blas_path.c_str(), 1);
    cuda::Text text;
    const cuda::LibraryRow* rows = nullptr;
    const std::int32_t count = cuda::library_rows(&device_, &rows, &text);
    missing_ = text.text;
    bindings_.reserve(static_cast<std::size_t>(count));
    for (std::int32_t i = 0; i < count; ++i) {
      bindings_.push_back({&device_, rows + i});
      table_.push_back({rows[i].op, rows[i].provider, false, false, {}, bind, &bindings_.back(), rows[i].precision});
    }
    dnn().stream = blas().stream = stream();
  }
  ~LibraryDevice() override { cuda::close_libraries(&device_); }
  LibraryDevice(const LibraryDevice&) = delete;
  LibraryDevice& operator=(const LibraryDevice&) = delete;

  [[nodiscard]] const std::string& missing() const { return missing_; }
  /// What the next synchronisation has to report, "" where nothing failed.
  [[nodiscard]] std::string failure() {
    cuda::Text text;
    return cuda::take_library_failure(&device_, &text) ? text.text : "";
  }

  [[nodiscard]] std::string name() const override { return "libraries"; }
  [[nodiscard]] std::string description() const override { return name(); }
  [[nodiscard]] const KernelTable& kernels() const override { return table_; }
  [[nodiscard]] int default_threads() const override { return 1; }
  [[nodiscard]] bool canonical() const override { return false; }
  [[nodiscard]] Peak peak(int) const override { return {}; }
  [[nodiscard]] void* stream() const override { return reinterpret_cast<void*>(std::uintptr_t{0x5eed}); }

  /// A row's answer to an operation.
  [[nodiscard]] Bound bind_row(const Problem& p, const std::string& provider, Precision precision) const {
    for (const Kernel& row : table_)
      if (row.op == p.kind && row.provider == provider && row.precision == precision) return row.bind(p, row);
    return Refusal{"no such row"};
  }

 private:
  struct Binding {
    cuda::Device* device;
    const cuda::LibraryRow* row;
  };
  static Bound bind(const Problem& p, const Kernel& kernel) {
    const auto& [device, row] = *static_cast<const Binding*>(kernel.impl);
    cuda::LibraryStep step;
    cuda::Text why;
    if (!row->bind(device, p, &step, &why)) return Refusal{why.text};
    return Step{step.run, std::shared_ptr<const void>(step.state, step.destroy), step.workspace};
  }

  cuda::Device device_{ordinal, nullptr, nullptr};
  std::string missing_;
  std::vector<Binding> bindings_;
  KernelTable table_;
};

}  // namespace tenon::tests
