// The C interface between the library and the CUDA module, which is opened at run time, so that one executable serves machines
// with and without a GPU. Plain structs cross it, errors return as codes with a line of text, nothing throws. Both sides compare
// `abi` and `layout` before anything else is read: a module of another build is refused, not misunderstood.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels/common/loops.hpp"
#include "kernels/common/step_block.hpp"
#include "kernels/cuda/contractions.hpp"

namespace tenon::cuda {

inline constexpr std::uint32_t module_abi = 3;

enum class Code : std::int32_t {
  ok,
  no_driver,
  driver_too_old,
  no_device,      // none at all, or not this number
  not_built_for,  // its compute capability
  out_of_memory,
  failed  // anything else; the text says what
};
struct Answer {
  Code code = Code::ok;
  char text[240] = {};
};

struct DeviceInfo {
  char name[128] = {};
  std::int32_t major = 0, minor = 0;  // compute capability
  std::int32_t multiprocessors = 0, clock_khz = 0, memory_khz = 0, memory_bits = 0;
  std::uint64_t memory = 0;              // bytes
  std::int32_t driver = 0, runtime = 0;  // 13000 is 13.0
};

struct Device;  // a device with its stream
struct Graph;   // a recorded list of work

/// A kernel of cuDNN or cuBLAS, bound to a problem: descriptors and algorithm, chosen once.
struct LibraryStep {
  RunFn run = nullptr;
  void* state = nullptr;
  void (*destroy)(void* state) = nullptr;
  std::size_t workspace = 0;  // bytes
};
/// Text of a refusal or of an error.
struct Text {
  char text[240] = {};
};
/// A row that needs more than geometry: the module binds it by itself.
struct LibraryRow {
  op::Kind op;
  const char* provider;  // "cuda.cudnn", "cuda.cublas"
  Precision precision;
  /// False where it refuses; then `why` says so in one line.
  bool (*bind)(Device*, const Problem&, LibraryStep*, Text* why);
};

/// Changes when a struct that crosses does.
constexpr std::uint64_t module_layout() {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const std::size_t size :
       {sizeof(Problem), sizeof(Call), sizeof(Control), sizeof(Loops), sizeof(Contractions), sizeof(ProductGeometry),
        sizeof(ConvGeometry), sizeof(PoolGeometry), sizeof(ChainGeometry), sizeof(UpdateGeometry), sizeof(RowsGeometry),
        sizeof(BinaryGeometry), sizeof(FeedGeometry), sizeof(StepBlock), sizeof(LibraryRow), sizeof(LibraryStep),
        static_cast<std::size_t>(op::kinds)})
    hash = (hash ^ size) * 0x100000001b3;
  return hash;
}

struct Module {
  std::uint32_t abi;
  std::uint64_t layout;
  const char* version;  // of the library that it was built with
  const char* targets;  // compute capabilities that it was built for: "80 86 89 90", "+PTX" behind the last
  const Loops* loops;
  const Contractions *fp16, *bf16, *tf32, *tiled, *naive;
  StepBlockLoops step_block;

  /// The rows of the libraries that are installed. `missing` names the others and why they cannot be used; empty where none is.
  std::int32_t (*library_rows)(Device*, const LibraryRow**, Text* missing);

  /// How many devices there are, or why that cannot be said.
  Answer (*devices)(std::int32_t* count);
  Answer (*open)(std::int32_t ordinal, Device**, DeviceInfo*);
  void (*close)(Device*);
  void* (*stream)(Device*);

  Answer (*allocate)(Device*, std::size_t bytes, void**);
  void (*release)(Device*, void*);
  Answer (*allocate_pinned)(Device*, std::size_t bytes, void**);  // on the host, where copies need no staging
  void (*release_pinned)(Device*, void*);

  // On the stream, in order. The host's memory has to stay until the next synchronisation.
  Answer (*upload)(Device*, void* to, const void* from, std::size_t bytes);
  Answer (*download)(Device*, void* to, const void* from, std::size_t bytes);
  Answer (*clear)(Device*, void*, std::size_t bytes);
  /// Waits, and tells what went wrong since the last time.
  Answer (*synchronize)(Device*);

  /// What is given to the stream between the two is recorded and not run.
  Answer (*begin_capture)(Device*);
  /// What is recorded from here on waits for what was recorded in the pieces named, by the numbers of these calls from 0 on.
  Answer (*begin_piece)(Device*, const std::int32_t* after, std::int32_t count);
  Answer (*end_capture)(Device*, Graph**);
  Answer (*replay)(Device*, Graph*);
  void (*release_graph)(Device*, Graph*);
};

inline constexpr const char* module_symbol = "tenon_cuda_module";

}  // namespace tenon::cuda

extern "C" const tenon::cuda::Module* tenon_cuda_module();
