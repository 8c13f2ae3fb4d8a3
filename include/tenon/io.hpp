// Weight files: valid safetensors with a CRC per tensor, a digest of the payload and a checksum of the header, written
// so that a power cut leaves the old file or the new one, never half of either.
#pragma once
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tenon/array.hpp"
#include "tenon/program.hpp"

namespace tenon {

/// What a safetensors file holds. The entries that guard a file are added on writing and taken out on reading.
struct TensorFile {
  std::vector<std::pair<std::string, Array>> tensors;
  std::map<std::string, std::string> metadata;
};

/// Replaces `path` atomically; the file that was there becomes `path`.prev. On return the content is on the disk.
/// Tensors lie in the order given, wider element types first, so that each is aligned. Throws UsageError for a name or
/// an entry that the format or this library does not allow, IoError with the reason when it cannot be written: the old
/// file is then untouched.
void write_safetensors(const std::string& path, const TensorFile& file);

/// Any file of the format with element types F32, F64, U8 or I32; tensors in the order of their offsets. Every checksum
/// that is there is verified. Throws CheckpointError naming the file, the byte or tensor, what was expected and what
/// was found; IoError when the file cannot be opened or read.
[[nodiscard]] TensorFile read_safetensors(const std::string& path);

/// Writes the parameters by name, and with them the architecture and the inputs where they are known. `extra` goes into
/// the metadata. Throws UsageError before the parameters exist.
void save(const Model& model, const std::string& path, const std::map<std::string, std::string>& extra = {});

/// Sets all parameters of the model from a file, or none. The model decides names and shapes: a tensor that is missing,
/// left over or of another shape is a CheckpointError. Where the newest file does not verify, `path`.prev is taken,
/// with a warning.
void load_weights(const Model& model, const std::string& path);

/// Rebuilds the model that a file describes, with its inputs and weights; the same fall-back. CheckpointError for a
/// file without an architecture.
[[nodiscard]] Model load(const std::string& path);

}  // namespace tenon
