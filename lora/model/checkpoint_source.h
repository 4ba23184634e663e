// Where a checkpoint's tensors are in its files. Most come down to the same: rows of blocks at an
// offset, in the order of rows that Hugging Face uses or in llama.cpp's. Linears that a folder
// holds quantized have several tensors each. Inside the checkpoint reader only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lora/model/bnb_linear.h"
#include "lora/model/checkpoint.h"
#include "lora/model/fp8_linear.h"
#include "runtime/io/file.h"
#include "runtime/io/gguf.h"

namespace tessera::lora {

struct StoredTensor {
  size_t file = 0;  // of CheckpointSource::files
  uint64_t offset = 0;
  io::GgufType encoding = io::GgufType::kF32;
  int64_t interleaved_heads = 0;  // as in TensorRow
  float plus = 0;                 // TensorRow::gguf_plus of a tensor in a GGUF file
};

class CheckpointSource {
 public:
  std::vector<io::ReadFile> files;

  /// Makes `name` known; once for each name.
  void add(std::string_view name, const StoredTensor& stored);
  void add(std::string_view name, BnbLinear linear);
  void add(std::string_view name, Fp8Linear linear);
  /// Values of `info` in file order of Hugging Face: in info.dtype, or all as float32.
  void read(const TensorInfo& info, bool as_float, std::span<std::byte> out) const;
  /// One row of a matrix that is a StoredTensor in order, as float32.
  void read_row(const TensorInfo& info, int64_t row, std::span<float> out) const;
  /// The blob of a tensor that was added as a BnbLinear.
  void read_blob(const TensorInfo& info, std::span<std::byte> blob) const;

 private:
  std::unordered_map<std::string, StoredTensor> stored_;
  std::unordered_map<std::string, BnbLinear> bnb_;
  std::unordered_map<std::string, Fp8Linear> fp8_;
};

/// What the files of one format hold: the tensors in the table's order, and their places.
struct FoundTensors {
  std::vector<TensorInfo> tensors;
  CheckpointSource source;
  bool ties_head = false;    // the files have no head but the embedding
  bool unties_head = false;  // the spec's tied head has weights of its own
  StoredNames names = {};
  std::vector<OtherTensor> others = {};
  std::vector<std::string> notes = {};
};
/// The tensors of `spec` in the safetensors of a folder, or in a GGUF model, where each may have a
/// type of its own. Throws Error naming the tensor for one that is missing, has another shape or an
/// unknown type, or is none of the spec's.
FoundTensors find_tensors(const ModelSpec& spec, const std::string& folder);
FoundTensors find_tensors(const ModelSpec& spec, io::GgufFile file);

/// The text of the config.json that a GGUF file's metadata stand for. Adds a line to `notes` for
/// each token that the vocabulary does not have. Throws Error naming the metadata for what is
/// missing, out of range or not supported.
std::string config_of_metadata(const io::GgufFile& file, std::vector<std::string>& notes);

// Tensors of a GGUF file that belong to its metadata: what rotary frequencies are divided by.
inline constexpr std::string_view kRopeFactors = "rope_freqs.weight";
inline constexpr std::string_view kRopeLongFactors = "rope_factors_long.weight";
inline constexpr std::string_view kRopeShortFactors = "rope_factors_short.weight";

/// What a row's tensor is before its file has been looked at.
TensorInfo info_of(const TensorRow& row);

/// Throws Error naming the tensor and both shapes when they differ.
void check_shape(const TensorInfo& expected, const std::vector<int64_t>& found,
                 std::string_view file);

}  // namespace tessera::lora
