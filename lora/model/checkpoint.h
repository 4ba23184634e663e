// A pretrained model on disk, Hugging Face folder or GGUF file, under one set of tensor names:
// those of its family in Hugging Face's transformers. After open() every tensor of the spec is
// there, with the right shape. No tensor is kept in memory: each read goes to the file, in chunks.
// Reads are safe from several threads at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lora/model/tensors.h"
#include "runtime/core/dtype.h"

namespace tessera::lora {

struct TensorInfo {
  std::string name;
  DType dtype = DType::kF32;   // kF32, kBF16 or kF16; a tensor that GGUF quantized is kF32
  std::vector<int64_t> shape;  // row-major, [out, in] for a projection

  int64_t numel() const {
    int64_t n = 1;
    for (int64_t extent : shape) n *= extent;
    return n;
  }
  size_t bytes() const { return size_t(numel()) * size_of(dtype); }
};

/// Where the tensors' bytes are in the files.
class CheckpointSource;
struct FoundTensors;

class Checkpoint {
 public:
  /// `path` is a folder with config.json and safetensors, a .gguf file, or a folder that holds one
  /// .gguf file and no config.json. Throws Error naming file, tensor, what was expected and found.
  static Checkpoint open(const std::string& path);
  /// A model whose spec is known, whatever its config says. `path` is a folder with safetensors, or
  /// a .gguf file.
  static Checkpoint open(const std::string& path, const ModelSpec& spec);

  const std::string& path() const { return path_; }
  const ModelSpec& spec() const { return spec_; }
  /// The text of the config.json that gave the spec; empty where none did.
  const std::string& config() const { return config_; }
  /// Every tensor of the model, once, embedding first, then layer by layer. A tied head is listed
  /// as model.embed_tokens.weight only, whichever of the two names the file uses.
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  /// Error naming the tensor when it is missing, here and below. A tied head is found under both
  /// names.
  const TensorInfo& info(std::string_view name) const;
  /// The values in info(name).dtype; `out` has exactly info(name).bytes() bytes.
  void read(std::string_view name, std::span<std::byte> out) const;
  /// The values widened to float, exactly; `out` has info(name).numel() elements.
  void read_f32(std::string_view name, std::span<float> out) const;

 private:
  Checkpoint(const std::string& path, const ModelSpec& spec, FoundTensors found);

  std::string path_;
  std::string config_;
  ModelSpec spec_;
  std::vector<TensorInfo> tensors_;
  std::unordered_map<std::string, size_t> index_;
  std::shared_ptr<const CheckpointSource> source_;
};

}  // namespace tessera::lora
