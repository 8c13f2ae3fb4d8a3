// The parameters of a model: names, shapes, initial values, and one slab that several programs share. Gradients and
// optimizer state lie at equal offsets in slabs of their own, so that an update of the whole model is one kernel.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tenon/array.hpp"

namespace tenon {

class Backend;
struct ParameterMirror;  // the copy on a device

/// How a parameter starts: Philox at (seed; element, parameter), the same on every machine.
struct Initializer {
  enum class Kind : std::uint8_t { constant, uniform, normal };
  enum class Fan : std::uint8_t { none, in, out, average };
  Kind kind = Kind::constant;
  Fan fan = Fan::none;
  float scale = 0.f;  // constant: the value; otherwise variance = scale / fan (fan none: scale itself)
  const char* name = "zeros";
};

inline constexpr Initializer zeros{};
inline constexpr Initializer ones{Initializer::Kind::constant, Initializer::Fan::none, 1.f, "ones"};
/// Glorot and Bengio 2010: variance 2 / (fan_in + fan_out).
inline constexpr Initializer glorot_uniform{Initializer::Kind::uniform, Initializer::Fan::average, 1.f,
                                            "glorot_uniform"};
inline constexpr Initializer glorot_normal{Initializer::Kind::normal, Initializer::Fan::average, 1.f, "glorot_normal"};
/// He et al. 2015: variance 2 / fan_in.
inline constexpr Initializer he_uniform{Initializer::Kind::uniform, Initializer::Fan::in, 2.f, "he_uniform"};
inline constexpr Initializer he_normal{Initializer::Kind::normal, Initializer::Fan::in, 2.f, "he_normal"};
/// LeCun et al. 1998: variance 1 / fan_in.
inline constexpr Initializer lecun_uniform{Initializer::Kind::uniform, Initializer::Fan::in, 1.f, "lecun_uniform"};
inline constexpr Initializer lecun_normal{Initializer::Kind::normal, Initializer::Fan::in, 1.f, "lecun_normal"};
/// Throws UsageError that lists the names there are.
[[nodiscard]] Initializer initializer_named(std::string_view name);

struct Parameter {
  std::string name;  // "conv2d.kernel"
  Shape shape;
  Initializer init;
  bool trainable = true;    // false: state that a step writes itself
  std::int64_t offset = 0;  // elements from the start of every slab
};

class Parameters {
 public:
  Parameters();
  Parameters(const Parameters&) = delete;
  Parameters& operator=(const Parameters&) = delete;
  static constexpr std::int64_t alignment = 16;  // elements: a parameter starts on a cache line

  [[nodiscard]] const std::vector<Parameter>& list() const noexcept { return list_; }
  [[nodiscard]] std::int64_t slab_elements() const noexcept { return elements_; }
  /// Elements of trainable parameters, and of all.
  [[nodiscard]] std::int64_t trainable_count() const noexcept;
  [[nodiscard]] std::int64_t count() const noexcept;
  [[nodiscard]] DType dtype() const noexcept { return dtype_; }
  [[nodiscard]] bool sealed() const noexcept { return sealed_; }

  /// A copy of the values. Throws UsageError that lists the names there are.
  [[nodiscard]] Array get(std::string_view name) const;
  /// Throws UsageError when name or shape do not fit; converts the element type.
  void set(std::string_view name, const Array& value);
  /// The values on the host, brought there from the device where a training step wrote them. Who asks for them in order to
  /// write makes the copy on a device old.
  [[nodiscard]] std::byte* slab();
  [[nodiscard]] const std::byte* slab() const;
  /// Where the device's kernels find the values, up to date: the slab itself where the device is the host.
  [[nodiscard]] std::byte* on_device(Backend&);
  /// Kernels of the device wrote what on_device() gave.
  void changed_on(Backend&);
  /// Sets every parameter to its initial value for `seed`.
  void initialize(std::uint64_t seed);
  /// 64-bit FNV-1a over all values: equal hashes mean equal bits.
  [[nodiscard]] std::uint64_t hash() const;

  // --- used while tracing -------------------------------------------------------------------------------------
  /// Index of the parameter; declares it while the set is open. Throws UsageError on another shape, or when sealed.
  std::size_t declare(const std::string& name, const Shape& shape, Initializer init, bool trainable);
  /// Ends the first trace: allocates the slab.
  void seal(DType dtype);
  [[nodiscard]] std::size_t index_of(std::string_view name) const;

 private:
  std::vector<Parameter> list_;
  std::int64_t elements_ = 0;
  DType dtype_ = DType::f32;
  bool sealed_ = false;
  Array slab_;
  std::shared_ptr<ParameterMirror> mirror_;
};

/// `*` matches any run of characters: "encode.*", "*.bias".
[[nodiscard]] bool matches(std::string_view pattern, std::string_view name);

}  // namespace tenon
