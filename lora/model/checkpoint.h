// A pretrained model on disk, Hugging Face folder or GGUF file, under one set of tensor names:
// those of its family in Hugging Face's transformers. After open() every tensor of the spec is
// there, with the right shape. No tensor is kept in memory: each read goes to the file, in chunks.
// Reads are safe from several threads at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lora/model/tensors.h"
#include "quant/format.h"
#include "runtime/core/dtype.h"

namespace tessera::lora {

struct TensorInfo {
  std::string name;
  DType dtype = DType::kF32;   // kF32, kBF16 or kF16; a tensor that is quantized in 4 bits or by
                               // GGUF is kF32, one in 8-bit floats has the model's dtype
  std::vector<int64_t> shape;  // row-major, [out, in] for a projection
  /// Of a linear that is stored in 4 bits: the format whose blob read_blob() gives.
  std::optional<quant::Storage> quantized = {};

  int64_t numel() const {
    int64_t n = 1;
    for (int64_t extent : shape) n *= extent;
    return n;
  }
  size_t bytes() const { return size_t(numel()) * size_of(dtype); }
};

/// A tensor beside the model's: of a vision tower, for example.
struct OtherTensor {
  std::string name;   // in the files
  std::string dtype;  // as safetensors calls it
  std::vector<int64_t> shape;
  size_t file = 0;
  uint64_t offset = 0;
  uint64_t bytes = 0;
};

/// From the table's names to the files'. Without a change where the files have the table's.
struct StoredNames {
  std::string prefix = {};  // of the table's, which is `stored` in the files
  std::string stored = {};
  std::string head = std::string(kHeadWeight);

  std::string of(std::string_view name) const;
};

/// Where the tensors' bytes are in the files.
class CheckpointSource;
struct FoundTensors;

class Checkpoint {
 public:
  /// `path` is a folder with config.json and safetensors, a .gguf file, any part of a split GGUF
  /// model, or a folder that holds one GGUF model and no config.json. Throws Error naming file,
  /// tensor, what was expected and found.
  static Checkpoint open(const std::string& path);
  /// A model whose spec is known, whatever its config says. `path` is a folder with safetensors, or
  /// a .gguf file.
  static Checkpoint open(const std::string& path, const ModelSpec& spec);

  const std::string& path() const { return path_; }
  const ModelSpec& spec() const { return spec_; }
  /// The text of the config.json that gave the spec, or that stands for the metadata of a GGUF
  /// file; empty where the spec was given.
  const std::string& config() const { return config_; }
  /// Every tensor of the model, once, embedding first, then layer by layer. A tied head is listed
  /// as model.embed_tokens.weight only, whichever of the two names the file uses.
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  /// What files of a model with more than text hold beside the text model's tensors.
  const std::vector<OtherTensor>& others() const { return others_; }
  /// What a user should know of how the files were read, a line each.
  const std::vector<std::string>& notes() const { return notes_; }
  /// The name that the tensor has in the files of a folder.
  std::string stored_name(std::string_view name) const { return names_.of(name); }
  /// Error naming the tensor when it is missing, here and below. A tied head is found under both
  /// names.
  const TensorInfo& info(std::string_view name) const;
  /// The values in info(name).dtype; `out` has exactly info(name).bytes() bytes.
  void read(std::string_view name, std::span<std::byte> out) const;
  /// The values widened to float, exactly; `out` has info(name).numel() elements.
  void read_f32(std::string_view name, std::span<float> out) const;
  /// Likewise one row of the embedding.
  void read_embedding_row(int64_t row, std::span<float> out) const;
  /// The blob of a FrozenMatrix of info(name).quantized, with the codes and scales of the files.
  void read_blob(std::string_view name, std::span<std::byte> blob) const;
  /// Bytes of one of others(), from its byte `begin` on.
  void read_other(const OtherTensor& other, uint64_t begin, std::span<std::byte> out) const;

 private:
  Checkpoint(const std::string& path, const ModelSpec& spec, FoundTensors found);

  std::string path_;
  std::string config_;
  ModelSpec spec_;
  std::vector<TensorInfo> tensors_;
  std::unordered_map<std::string, size_t> index_;
  StoredNames names_;
  std::vector<OtherTensor> others_;
  std::vector<std::string> notes_;
  std::shared_ptr<const CheckpointSource> source_;
};

/// The only model in .gguf files of a folder without config.json; of a split one, its first part.
/// Error where there is none, or more than one.
std::string find_gguf(const std::string& folder);

}  // namespace tessera::lora
