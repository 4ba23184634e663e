// A model as a folder in Hugging Face layout: tensors in one file or in shards with an index,
// config.json, and the tokenizer's files. Built under another name beside its place and renamed at
// the end; destroyed without commit(), it leaves nothing behind.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "lora/model/checkpoint.h"
#include "runtime/core/function_ref.h"
#include "runtime/io/safetensors.h"

namespace tessera::launch {

class ModelFolder {
 public:
  /// About how many bytes a tensor of the base takes here.
  using BytesOf = FunctionRef<uint64_t(const lora::TensorInfo& info)>;
  /// A model with the tensors, config and tokenizer of `base`, in files of `shard_bytes` at most
  /// where no tensor is larger. Error when `path` exists, cannot be made, or has too little room.
  ModelFolder(const std::string& path, const lora::Checkpoint& base, BytesOf bytes_of,
              uint64_t shard_bytes);
  ~ModelFolder();
  ModelFolder(const ModelFolder&) = delete;
  ModelFolder& operator=(const ModelFolder&) = delete;

  /// Where the tensors come from: `entries` are those that a file holds of these tensors of the
  /// base, asked for once for each file; then `bytes` of each entry, in the order in which they are
  /// stored, valid until the next call.
  struct Source {
    FunctionRef<std::vector<io::SafetensorsEntry>(std::span<const lora::TensorInfo> tensors)>
        entries;
    FunctionRef<std::span<const std::byte>(const std::string& entry)> bytes;
  };
  /// What the base holds beside the model's tensors is copied.
  void write_tensors(const Source& source);
  /// Written so far.
  uint64_t tensor_bytes() const { return tensor_bytes_; }
  /// For files that are needed meanwhile.
  const std::string& temporary() const { return temporary_; }

  /// Writes the other files, opens the model as a reader would, and gives it its name. Returns what
  /// the user should know, a line each.
  std::vector<std::string> commit(const nlohmann::json& config);

 private:
  struct Shard {
    std::string file;
    std::vector<lora::TensorInfo> tensors;
    std::vector<lora::OtherTensor> others;
  };
  void split(BytesOf bytes_of, uint64_t shard_bytes);
  void write(const Shard& shard, const Source& source);
  void copy(const lora::OtherTensor& other, io::SafetensorsWriter& writer) const;
  std::string file(const std::string& name) const { return temporary_ + "/" + name; }
  void write_index() const;
  void copy_small_files() const;
  void write_tokenizer(std::vector<std::string>& notes) const;

  std::string path_;
  std::string temporary_;
  const lora::Checkpoint& base_;
  std::vector<Shard> shards_;
  nlohmann::json weight_map_ = nlohmann::json::object();
  uint64_t tensor_bytes_ = 0;
};

}  // namespace tessera::launch
