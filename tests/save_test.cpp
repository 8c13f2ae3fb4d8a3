// Models and their files: weights by name, all or none, and the generation before when the newest is damaged.
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "lib/nn/trace.hpp"
#include "tenon/error.hpp"
#include "tenon/io.hpp"
#include "tenon/log.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/idx_files.hpp"

using namespace tenon;
using test::read_file;
using test::TempFolder;
using test::write_file;

namespace {

nn::Sequential small_net(std::int32_t units = 3) {
  return nn::Sequential{nn::Conv2d{.filters = 2, .kernel = {3, 3}, .activation = relu}, nn::MaxPool2d{.window = {2, 2}},
                        nn::Dropout{.rate = 0.25f}, nn::Flatten{},
                        nn::Dense{.units = units, .activation = softmax, .name = "head"}};
}

/// Declares the parameters for images of 6x6x1 and fills them for a seed.
Model ready(const nn::Sequential& net, std::uint64_t seed, DType dtype = DType::f32) {
  Model model(net);
  model.inputs().specs = {{"image", {6, 6, 1}}};
  declare_parameters(model, dtype);
  model.parameters().initialize(seed);
  return model;
}

template <class E>
std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const E& error) {
    CHECK(std::string(error.what()).find('\n') == std::string::npos);
    return error.what();
  }
  return "no error";
}

class Warnings {
 public:
  Warnings() {
    set_log([this](LogLevel, const std::string& text) { lines.push_back(text); });
  }
  ~Warnings() { set_log({}); }
  Warnings(const Warnings&) = delete;
  Warnings& operator=(const Warnings&) = delete;
  std::vector<std::string> lines;
};

void damage(const std::string& path) {
  std::string bytes = read_file(path);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  write_file(path, bytes);
}

}  // namespace

TEST_CASE("weights come back bit for bit", "[io]") {
  const TempFolder folder;
  const std::string path = folder / "m.safetensors";
  const Model model = ready(small_net(), 7), other = ready(small_net(), 8);
  REQUIRE(model.parameters().hash() != other.parameters().hash());
  save(model, path, {{"run", "7"}});
  load_weights(other, path);
  CHECK(other.parameters().hash() == model.parameters().hash());

  const TensorFile file = read_safetensors(path);
  std::vector<std::string> names;
  for (const auto& [name, array] : file.tensors) names.push_back(name);
  CHECK(names == std::vector<std::string>{"conv2d.kernel", "conv2d.bias", "head.kernel", "head.bias"});
  CHECK(file.metadata.at("run") == "7");
  CHECK(file.metadata.at("library").find('.') != std::string::npos);
  CHECK(nlohmann::json::parse(file.metadata.at("architecture")).size() == 5);
  CHECK(file.metadata.at("inputs") == R"([{"dtype":"f32","name":"image","shape":[6,6,1]}])");
}

TEST_CASE("a file rebuilds its model", "[io]") {
  const TempFolder folder;
  const std::string path = folder / "m.safetensors";
  for (const DType dtype : {DType::f32, DType::f64}) {
    const Model model = ready(small_net(), 7, dtype);
    save(model, path);
    const Model again = load(path);
    CHECK(again.parameters().hash() == model.parameters().hash());
    CHECK(again.parameters().dtype() == dtype);
    REQUIRE(again.inputs().specs.size() == 1);
    CHECK(again.inputs().specs[0].name == "image");
    CHECK(again.inputs().specs[0].shape == Shape{6, 6, 1});
    save(again, folder / "again.safetensors");
    CHECK(read_file(path) == read_file(folder / "again.safetensors"));
    CHECK(nn::Sequential::load(path).parameters().hash() == model.parameters().hash());
  }
}

TEST_CASE("f32 weights fit an f64 model and not the other way round", "[io]") {
  const TempFolder folder;
  const Model narrow = ready(small_net(), 7), wide = ready(small_net(), 8, DType::f64);
  save(narrow, folder / "narrow");
  save(wide, folder / "wide");
  load_weights(wide, folder / "narrow");
  const Array a = narrow.parameters().get("head.kernel"), b = wide.parameters().get("head.kernel");
  for (std::int64_t i = 0; i < a.size(); ++i) CHECK(a.at(i) == b.at(i));
  CHECK(message_of<CheckpointError>([&] {
          load_weights(narrow, folder / "wide");
        }).find("'head.bias' expects f32(3), found f64(3)") != std::string::npos);
}

TEST_CASE("a file that does not fit changes nothing and names every misfit", "[io]") {
  const TempFolder folder;
  const std::string path = folder / "m.safetensors";
  const Model model = ready(small_net(), 7);
  const std::uint64_t before = model.parameters().hash();
  save(ready(small_net(4), 1), path);
  save(ready(small_net(4), 1), path);  // with a generation before, which would not fit either
  CHECK(message_of<CheckpointError>([&] { load_weights(model, path); }) ==
        "[load] " + path +
            " does not fit the model: 'head.kernel' expects f32(8,3), found f32(8,4), 'head.bias' expects f32(3), "
            "found f32(4)");
  TensorFile file = read_safetensors(path);
  file.tensors.erase(file.tensors.begin());
  file.tensors.emplace_back("odd", Array(DType::f32, {1}));
  write_safetensors(path, file);
  const std::string message = message_of<CheckpointError>([&] { load_weights(model, path); });
  CHECK(message.find("'conv2d.kernel' is missing") != std::string::npos);
  CHECK(message.find("'odd' is in no layer") != std::string::npos);
  CHECK(model.parameters().hash() == before);
  CHECK_THROWS_AS(load_weights(model, folder / "absent"), IoError);
  CHECK(model.parameters().hash() == before);
}

TEST_CASE("a damaged newest file gives way to the one before", "[io]") {
  const TempFolder folder;
  const std::string path = folder / "m.safetensors";
  const Model first = ready(small_net(), 1), second = ready(small_net(), 2), model = ready(small_net(), 3);
  save(first, path);
  save(second, path);
  {
    const Warnings warnings;
    load_weights(model, path);
    CHECK(model.parameters().hash() == second.parameters().hash());
    CHECK(warnings.lines.empty());
    damage(path);
    load_weights(model, path);
    CHECK(model.parameters().hash() == first.parameters().hash());
    REQUIRE(warnings.lines.size() == 1);
    CHECK(warnings.lines[0].find("took " + path + ".prev") != std::string::npos);
    CHECK(warnings.lines[0].find("expected CRC") != std::string::npos);
    CHECK(load(path).parameters().hash() == first.parameters().hash());
    std::filesystem::remove(path);
    CHECK(load(path).parameters().hash() == first.parameters().hash());
  }
  damage(path + ".prev");
  const std::uint64_t before = model.parameters().hash();
  CHECK_THROWS_AS(load_weights(model, path), CheckpointError);
  write_file(path, "short");
  CHECK(message_of<CheckpointError>([&] { load_weights(model, path); }).find("; and the generation before: ") !=
        std::string::npos);
  CHECK(model.parameters().hash() == before);
}

TEST_CASE("a hostile description of a model is refused", "[io]") {
  const TempFolder folder;
  const std::string path = folder / "m.safetensors";
  save(ready(small_net(), 7), path);
  const TensorFile good = read_safetensors(path);
  const auto refusal = [&](const std::string& key, const std::string& value) {
    TensorFile bad = good;
    bad.metadata[key] = value;
    if (value.empty()) bad.metadata.erase(key);
    for (const char* reserved : {"format", "version"}) bad.metadata.erase(reserved);
    write_safetensors(path, bad);
    return message_of<CheckpointError>([&] { (void)load(path); });
  };
  CHECK(refusal("architecture", "").find("holds no architecture") != std::string::npos);
  for (const char* text : {"[", "{}", "[{}]", "[7]", R"([{"type":"nothing"}])", R"([{"type":"dense","units":-1}])"})
    CHECK(refusal("architecture", text).find("[architecture]") != std::string::npos);
  CHECK(refusal("inputs", "").find("no inputs") != std::string::npos);
  for (const char* text : {"[", "[7]", R"([{"name":"x"}])", R"([{"name":"x","shape":[-1],"dtype":"f32"}])",
                           R"([{"name":"x","shape":[2.5],"dtype":"f16"}])"})
    CHECK(refusal("inputs", text) != "no error");
  for (const char* text : {R"([{"name":"x","shape":[4294967296,4294967296,1],"dtype":"f32"}])",
                           R"([{"name":"x","shape":[1,1,1,1,1,1,1,1,1],"dtype":"f32"}])"})
    CHECK(refusal("inputs", text).find("bounded rank and size") != std::string::npos);
  CHECK(refusal("inputs", R"([{"name":"x","shape":[9,9,1],"dtype":"f32"}])")
            .find("'head.kernel' expects f32(18,3), found f32(8,3)") != std::string::npos);
  CHECK(refusal("inputs", R"([{"name":"x","shape":[5],"dtype":"f32"}])").find("cannot be built") != std::string::npos);
}

TEST_CASE("weights that are not finite are loaded with a warning", "[io]") {
  const TempFolder folder;
  const Model model = ready(small_net(), 7);
  model.parameters().set("head.bias",
                         Array::of(std::vector<float>{0, std::numeric_limits<float>::quiet_NaN(), 1}, {3}));
  save(model, folder / "m");
  const Warnings warnings;
  const Model again = load(folder / "m");
  CHECK(again.parameters().hash() == model.parameters().hash());
  REQUIRE(warnings.lines.size() == 1);
  CHECK(warnings.lines[0].find("'head.bias' holds values that are not finite") != std::string::npos);
}

TEST_CASE("saving and loading need parameters", "[io]") {
  const TempFolder folder;
  const Model fresh(small_net());
  CHECK_THROWS_AS(save(fresh, folder / "m"), UsageError);
  CHECK_THROWS_AS(load_weights(fresh, folder / "m"), UsageError);
  const Model model = ready(small_net(), 7);
  CHECK_THROWS_AS(save(model, folder / "m", {{"architecture", "[]"}}), UsageError);
  CHECK_THROWS_AS(save(model, folder / "absent/m"), IoError);
}
