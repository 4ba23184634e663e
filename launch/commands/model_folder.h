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
  struct Sizes {
    /// About how many bytes a tensor of the base takes here.
    FunctionRef<uint64_t(const lora::TensorInfo& info)> bytes_of;
    uint64_t shard_bytes;  // of a file at most, where no tensor is larger
    bool spools = false;   // a file's tensors are in temporary(), too, while it is written
  };
  /// A model with the tensors, config and tokenizer of `base`. Error when `path` exists, cannot be
  /// made, or has too little room, and where a tensor that would be copied is quantized: the config
  /// no longer names its form.
  ModelFolder(const std::string& path, const lora::Checkpoint& base, Sizes sizes);

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
  const std::string& temporary() const { return temporary_.path(); }
  /// About what the disk must have free before the first tensor is written.
  uint64_t needed_bytes() const { return needed_bytes_; }

  /// Writes the other files, opens the model as a reader would, and gives it its name. Returns what
  /// the user should know, a line each.
  std::vector<std::string> commit(const nlohmann::json& config);

 private:
  /// A new folder beside `path`, which must not exist; removed with all in it unless renamed.
  class TemporaryFolder {
   public:
    explicit TemporaryFolder(const std::string& path);
    ~TemporaryFolder();
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;
    const std::string& path() const { return path_; }
    void rename_to(const std::string& path);

   private:
    std::string path_;
  };
  struct Shard {
    std::string file;
    uint64_t bytes = 0;  // about
    std::vector<lora::TensorInfo> tensors;
    std::vector<lora::OtherTensor> others;
  };
  void split(const Sizes& sizes);
  void check_room(bool spools);
  void write(const Shard& shard, const Source& source);
  void copy(const lora::OtherTensor& other, io::SafetensorsWriter& writer) const;
  std::string file(const std::string& name) const { return temporary() + "/" + name; }
  void write_index() const;
  void copy_small_files() const;
  void write_tokenizer(std::vector<std::string>& notes) const;

  std::string path_;
  TemporaryFolder temporary_;
  const lora::Checkpoint& base_;
  std::vector<Shard> shards_;
  nlohmann::json weight_map_ = nlohmann::json::object();
  uint64_t tensor_bytes_ = 0;
  uint64_t needed_bytes_ = 0;
};

}  // namespace tessera::launch
