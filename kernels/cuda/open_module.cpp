// dlopen with a search path of folders that nobody but the installation, or the user by name, can put a module into.
#include "kernels/cuda/open_module.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <vector>

#include "tenon/error.hpp"

#ifndef TENON_MODULE_DIR
#define TENON_MODULE_DIR ""
#endif

namespace tenon::cuda {
namespace {

std::vector<std::filesystem::path> folders() {
  std::vector<std::filesystem::path> list;
  if (const char* path = std::getenv("TENON_MODULE_PATH"); path != nullptr && *path != '\0') {
    list.emplace_back(path);
    return list;  // what the user names is not replaced by something else
  }
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (!error) list.push_back(program.parent_path().parent_path() / "lib" / "tenon");
  if (*TENON_MODULE_DIR != '\0') list.emplace_back(TENON_MODULE_DIR);
  return list;
}

const Module& load(const std::filesystem::path& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw DeviceError(fmt::format("[cuda] the module cannot be opened: {}", dlerror()));
  const auto entry = reinterpret_cast<const Module* (*)()>(dlsym(library, module_symbol));
  const Module* module = entry != nullptr ? entry() : nullptr;
  check_module(module, path.string());
  return *module;
}

}  // namespace

void check_module(const Module* module, const std::string& path) {
  if (module == nullptr)
    throw DeviceError(fmt::format("[cuda] {} is no module of Tenon: it has no {}", path, module_symbol));
  if (module->abi != module_abi)
    throw DeviceError(fmt::format("[cuda] {}: expected interface {}, found {}", path, module_abi, module->abi));
  if (module->layout != module_layout() || std::string_view(module->version) != TENON_VERSION)
    throw DeviceError(
        fmt::format("[cuda] {} was built with another Tenon: expected {} with layout {:016x}, found {} with {:016x}",
                    path, TENON_VERSION, module_layout(), module->version, module->layout));
}

const Module& open_module() {
  static const Module& module = []() -> const Module& {
    std::string looked;
    for (const std::filesystem::path& folder : folders()) {
      std::error_code error;
      if (std::filesystem::exists(folder / module_file, error)) return load(folder / module_file);
      looked += (looked.empty() ? "" : ", ") + folder.string();
    }
    throw DeviceError(fmt::format("[cuda] the CUDA module was not built or not installed: no {} in {}", module_file,
                                  looked.empty() ? "any folder" : looked));
  }();
  return module;
}

}  // namespace tenon::cuda
