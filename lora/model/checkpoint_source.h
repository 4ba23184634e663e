// Where a checkpoint's tensors are in its files. Both formats come down to the same: rows of blocks
// at an offset, in the order of rows that Hugging Face uses or in llama.cpp's.
// Inside the checkpoint reader only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lora/model/checkpoint.h"
#include "runtime/io/file.h"
#include "runtime/io/gguf.h"

namespace tessera::lora {

struct StoredTensor {
  size_t file = 0;  // of CheckpointSource::files
  uint64_t offset = 0;
  io::GgufType encoding = io::GgufType::kF32;
  int64_t interleaved_heads = 0;  // as in TensorRow
};

class CheckpointSource {
 public:
  std::vector<io::ReadFile> files;

  /// Makes `name` known; once for each name.
  void add(std::string_view name, const StoredTensor& stored);
  bool has(std::string_view name) const { return stored_.contains(std::string(name)); }
  /// Values of `info` in file order of Hugging Face: in info.dtype, or all as float32.
  void read(const TensorInfo& info, bool as_float, std::span<std::byte> out) const;

 private:
  std::unordered_map<std::string, StoredTensor> stored_;
};

/// What the files of one format hold: the tensors in the table's order, and their places.
struct FoundTensors {
  std::vector<TensorInfo> tensors;
  CheckpointSource source;
};
/// The tensors of `spec` in the safetensors of a folder, or in a GGUF file. Throws Error naming the
/// tensor for one that is missing, has another shape or an unknown type, or is none of the spec's.
FoundTensors find_tensors(const ModelSpec& spec, const std::string& folder);
FoundTensors find_tensors(const ModelSpec& spec, io::GgufFile file);

/// The spec that a GGUF file's metadata give.
ModelSpec read_spec(const io::GgufFile& file);

/// What a row's tensor is before its file has been looked at.
TensorInfo info_of(const TensorRow& row);

/// Throws Error naming the tensor and both shapes when they differ.
void check_shape(const TensorInfo& expected, const std::vector<int64_t>& found,
                 std::string_view file);

}  // namespace tessera::lora
