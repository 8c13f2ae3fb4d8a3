// Models and files: parameters by name, architecture and inputs as JSON in the metadata. The model decides names and
// shapes; a file that does not fit is refused before its tensors are read.
#include <fmt/format.h>
#include <sys/stat.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <functional>
#include <optional>

#include "lib/io/atomic_file.hpp"
#include "lib/io/safetensors.hpp"
#include "lib/nn/trace.hpp"
#include "tenon/error.hpp"
#include "tenon/io.hpp"
#include "tenon/log.hpp"

#ifndef TENON_VERSION
#define TENON_VERSION "0.1.0"
#endif

namespace tenon {
namespace {

using nlohmann::json;
using safetensors::Entry;
using safetensors::Reader;

constexpr const char *architecture_key = "architecture", *inputs_key = "inputs", *library_key = "library";

std::string describe(const std::vector<InputSpec>& specs) {
  json list = json::array();
  for (const InputSpec& s : specs)
    list.push_back({{"name", s.name},
                    {"shape", std::vector<std::int64_t>(s.shape.extents().begin(), s.shape.extents().end())},
                    {"dtype", name_of(s.dtype)}});
  return list.dump();
}

InputSpec read_input(const json& j) {
  InputSpec spec{.name = j.at("name").get<std::string>(), .shape = {}};
  const auto extents = j.at("shape").get<std::vector<std::uint64_t>>();
  std::uint64_t bytes = 0;
  if (extents.size() >= Shape::max_rank || !safetensors::checked_bytes(extents, DType::f64, bytes))
    throw CheckpointError("expected an input of bounded rank and size");
  for (const std::uint64_t e : extents) spec.shape.push_back(static_cast<std::int64_t>(e));
  const auto type = j.at("dtype").get<std::string>();
  for (const DType d : {DType::f32, DType::f64, DType::u8, DType::i32})
    if (type == name_of(d)) {
      spec.dtype = d;
      return spec;
    }
  throw CheckpointError(fmt::format("expected an element type, found '{}'", shown(type)));
}

/// A float type that the parameters can take without rounding.
bool type_fits(DType found, DType wanted) { return found == wanted || (found == DType::f32 && wanted == DType::f64); }

void check_fit(const Parameters& parameters, DType dtype, const std::vector<Entry>& tensors) {
  std::map<std::string, const Entry*> left;
  for (const Entry& e : tensors) left[e.name] = &e;
  std::vector<std::string> faults;
  for (const Parameter& p : parameters.list()) {
    const auto found = left.find(p.name);
    const TensorSpec wanted{dtype, p.shape};
    if (found == left.end()) {
      faults.push_back(fmt::format("'{}' is missing", p.name));
    } else {
      if (found->second->spec.shape != p.shape || !type_fits(found->second->spec.dtype, dtype))
        faults.push_back(fmt::format("'{}' expects {}, found {}", p.name, wanted.str(), found->second->spec.str()));
      left.erase(found);
    }
  }
  for (const auto& [name, entry] : left) faults.push_back(fmt::format("'{}' is in no layer", name));
  constexpr std::size_t most = 8;
  if (faults.empty()) return;
  const std::string more = faults.size() > most ? fmt::format(" and {} more", faults.size() - most) : "";
  if (faults.size() > most) faults.resize(most);
  throw CheckpointError(fmt::format("does not fit the model: {}{}", fmt::join(faults, ", "), more));
}

/// What verifies, but is not the file that was wanted: older generations would be of no help.
struct Misfit : CheckpointError {
  using CheckpointError::CheckpointError;
};

TensorFile read_fitting(const std::string& path, const std::function<void(const Reader&)>& check) {
  const Reader reader(path);
  try {
    check(reader);
  } catch (const CheckpointError& error) {
    throw Misfit(fmt::format("[load] {} {}", shown(path), error.what()));
  }
  return reader.read();
}

bool exists(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0;
}

/// The newest generation that verifies.
TensorFile read_newest(const std::string& path, const std::function<void(const Reader&)>& check) {
  const std::string previous = previous_of(path);
  try {
    return read_fitting(path, check);
  } catch (const Misfit&) {
    throw;
  } catch (const Error& error) {
    // A file that cannot be opened is not a damaged one, but between two renames it may be missing for an instant.
    const bool damaged = error.code() == ExitCode::bad_checkpoint || !exists(path);
    if (!damaged || !exists(previous)) throw;
    const std::string newest = error.what();
    try {
      TensorFile file = read_fitting(previous, check);
      detail::log(LogLevel::warning,
                  fmt::format("[load] took {}, the generation before, because of {}", shown(previous), newest));
      return file;
    } catch (const Error& second) {
      throw CheckpointError(fmt::format("{}; and the generation before: {}", newest, second.what()));
    }
  }
}

template <class T>
bool finite(const Array& array) {
  for (const T v : array.values<T>())
    if (!std::isfinite(v)) return false;
  return true;
}

/// Everything that can fail comes before the first parameter changes.
void set_all(Parameters& parameters, TensorFile file, const std::string& path) {
  for (auto& [name, array] : file.tensors) {
    if (array.dtype() != parameters.dtype()) array = array.to(parameters.dtype());
    if (!(array.dtype() == DType::f64 ? finite<double>(array) : finite<float>(array)))
      detail::log(LogLevel::warning,
                  fmt::format("[load] {}: '{}' holds values that are not finite", shown(path), name));
  }
  for (const auto& [name, array] : file.tensors) parameters.set(name, array);
}

/// The model of the file's architecture, its parameters named and shaped but without memory.
Model rebuild(const nn::Sequential& net, const Reader& reader, DType dtype) {
  Model model(net);
  const auto inputs = reader.metadata().find(inputs_key);
  if (inputs == reader.metadata().end()) throw CheckpointError("has an architecture but no inputs");
  try {
    for (const json& j : json::parse(inputs->second)) model.inputs().specs.push_back(read_input(j));
    (void)trace(model, {.inputs = &model.inputs().specs, .batch = 1, .training = true, .dtype = dtype});
  } catch (const json::exception& error) {
    throw CheckpointError(fmt::format("has inputs that cannot be read: {}", error.what()));
  } catch (const UsageError& error) {
    throw CheckpointError(fmt::format("has an architecture that cannot be built: {}", error.what()));
  }
  check_fit(model.parameters(), dtype, reader.tensors());
  return model;
}

std::pair<nn::Sequential, Model> rebuild_from(const std::string& path) {
  std::optional<nn::Sequential> net;
  std::optional<Model> model;
  DType dtype = DType::f32;
  TensorFile file = read_newest(path, [&](const Reader& reader) {
    const auto found = reader.metadata().find(architecture_key);
    if (found == reader.metadata().end())
      throw CheckpointError("holds no architecture: build the model and use load_weights");
    for (const Entry& e : reader.tensors()) dtype = e.spec.dtype == DType::f64 ? DType::f64 : dtype;
    net = nn::Sequential::from_config(found->second);
    model = rebuild(*net, reader, dtype);
  });
  declare_parameters(*model, dtype);
  set_all(model->parameters(), std::move(file), path);
  return {*net, *model};
}

}  // namespace

void save(const Model& model, const std::string& path, const std::map<std::string, std::string>& extra) {
  const Parameters& parameters = model.parameters();
  if (!parameters.sealed()) throw UsageError("[save] the model has no parameters yet: compile it, or train it, first");
  TensorFile file{.tensors = {}, .metadata = extra};
  for (const char* key : {architecture_key, inputs_key, library_key})
    if (extra.contains(key))
      throw UsageError(
          fmt::format("[save] the metadata entry '{}' is written by the library itself: choose another name", key));
  if (const std::string architecture = model.config(); !architecture.empty())
    file.metadata[architecture_key] = architecture;
  if (!model.inputs().specs.empty()) file.metadata[inputs_key] = describe(model.inputs().specs);
  file.metadata[library_key] = TENON_VERSION;
  for (const Parameter& p : parameters.list()) file.tensors.emplace_back(p.name, parameters.get(p.name));
  write_safetensors(path, file);
}

void load_weights(const Model& model, const std::string& path) {
  Parameters& parameters = model.parameters();
  if (!parameters.sealed()) {
    if (model.inputs().specs.empty())
      throw UsageError("[load_weights] the model's inputs are not known yet: compile it first");
    declare_parameters(model, DType::f32);
  }
  set_all(parameters,
          read_newest(path, [&](const Reader& reader) { check_fit(parameters, parameters.dtype(), reader.tensors()); }),
          path);
}

Model load(const std::string& path) { return rebuild_from(path).second; }

nn::Sequential nn::Sequential::load(const std::string& path) { return rebuild_from(path).first; }

}  // namespace tenon
