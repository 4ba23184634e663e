// A model as a folder in Hugging Face layout: tensors in one file or in shards with an index,
// config.json, and the tokenizer's files. Built under another name beside its place and renamed at
// the end; destroyed without commit(), it leaves nothing behind.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "lora/model/checkpoint.h"
#include "runtime/core/function_ref.h"

namespace tessera::launch {

class MergedFolder {
 public:
  /// `base` is the model whose tensors, config and tokenizer these are, in `dtype`. Error when
  /// `path` exists, cannot be made, or has too little room.
  MergedFolder(const std::string& path, const lora::Checkpoint& base, DType dtype,
               uint64_t shard_bytes);
  ~MergedFolder();
  MergedFolder(const MergedFolder&) = delete;
  MergedFolder& operator=(const MergedFolder&) = delete;

  /// Asks for the bytes of every tensor once, in the order in which they are stored.
  void write_tensors(FunctionRef<std::span<const std::byte>(const std::string& name)> make);
  uint64_t tensor_bytes() const { return tensor_bytes_; }

  /// Writes the other files, opens the model as a reader would, and gives it its name. Returns what
  /// the user should know, a line each.
  std::vector<std::string> commit();

 private:
  struct Shard {
    std::string file;
    std::vector<lora::TensorInfo> tensors;
  };
  std::vector<Shard> split(uint64_t shard_bytes) const;
  std::string file(const std::string& name) const { return temporary_ + "/" + name; }
  void write_index() const;
  void write_config() const;
  void write_tokenizer(std::vector<std::string>& notes) const;

  std::string path_;
  std::string temporary_;
  const lora::Checkpoint& base_;
  DType dtype_;
  uint64_t tensor_bytes_ = 0;
  std::vector<Shard> shards_;
};

}  // namespace tessera::launch
