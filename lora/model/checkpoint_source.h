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
#include "runtime/io/gguf_blocks.h"

namespace tessera::lora {

inline constexpr std::string_view kEmbedding = "model.embed_tokens.weight";
inline constexpr std::string_view kHead = "lm_head.weight";

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

/// What open() of one format gives: the spec, the tensors in the table's order, and their places.
struct OpenedCheckpoint {
  ModelSpec spec;
  std::vector<TensorInfo> tensors;
  CheckpointSource source;
};
OpenedCheckpoint open_folder(const std::string& path);
OpenedCheckpoint open_gguf(const std::string& path);

/// What a row's tensor is before its file has been looked at.
TensorInfo info_of(const TensorRow& row);

/// Throws Error naming the tensor and both shapes when they differ.
void check_shape(const TensorInfo& expected, const std::vector<int64_t>& found,
                 std::string_view file);

}  // namespace tessera::lora
