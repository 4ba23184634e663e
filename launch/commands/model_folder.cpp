#include "launch/commands/model_folder.h"

#include <stdlib.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "launch/console/progress.h"
#include "launch/text/tokenizer/tokenizer.h"
#include "launch/text/tokenizer/tokenizer_parts.h"
#include "lora/model/fp8_linear.h"
#include "runtime/core/error.h"
#include "runtime/io/file.h"
#include "runtime/io/folder.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr size_t kMaxSmallFile = size_t{1} << 20;
constexpr size_t kChunk = size_t{1} << 22;
/// What stands beside a model, is no part of its tokenizer, and holds for it as before.
constexpr const char* kSmallFiles[] = {"generation_config.json", "preprocessor_config.json",
                                       "processor_config.json"};

/// What is copied keeps its form, which must not be a quantized one.
void check_others(const lora::Checkpoint& checkpoint) {
  for (const lora::OtherTensor& other : checkpoint.others()) {
    if (other.dtype != lora::kFp8 && other.name.find(".quant_state.") == std::string::npos) {
      continue;
    }
    fail("{}: tensor '{}' is quantized and no part of the text model; use the original checkpoint",
         checkpoint.path(), io::printable(other.name));
  }
}

}  // namespace

ModelFolder::TemporaryFolder::TemporaryFolder(const std::string& of) {
  const fs::path path = of;
  std::error_code error;
  if (fs::exists(fs::symlink_status(path, error))) {  // a link that leads nowhere counts, too
    fail_usage("{} exists already; choose another output, or remove it", path.string());
  }
  fs::create_directories(path.parent_path(), error);
  std::string name = path.string() + ".XXXXXX";
  if (error || ::mkdtemp(name.data()) == nullptr) {
    fail("cannot create {}: {}", path.string(),
         error ? error.message() : std::string(std::strerror(errno)));
  }
  path_ = name;
}

ModelFolder::TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  if (!path_.empty()) fs::remove_all(path_, ignored);
}

void ModelFolder::TemporaryFolder::rename_to(const std::string& path) {
  ::chmod(path_.c_str(), 0755);  // mkdtemp's is private
  if (::rename(path_.c_str(), path.c_str()) != 0) {
    fail("cannot rename {} to {}: {}", path_, path, std::strerror(errno));
  }
  path_.clear();
}

ModelFolder::ModelFolder(const std::string& path, const lora::Checkpoint& base, Sizes sizes)
    // "out/" and "out" are one folder.
    : path_(io::absolute(path).string()), temporary_(path_), base_(base) {
  check_others(base);
  split(sizes);
  check_room(sizes.spools);
}

void ModelFolder::check_room(bool spools) {
  uint64_t largest = 0;
  for (const Shard& shard : shards_) {
    needed_bytes_ += shard.bytes;
    largest = std::max(largest, shard.bytes);
  }
  if (spools) needed_bytes_ += largest;
  std::error_code error;
  const fs::space_info space = fs::space(temporary(), error);
  if (!error && space.available < needed_bytes_) {
    fail("{} needs {}, but its disk has {} free", path_, format_bytes(int64_t(needed_bytes_)),
         format_bytes(int64_t(space.available)));
  }
}

void ModelFolder::split(const Sizes& sizes) {
  shards_.emplace_back();
  const auto shard_for = [&](uint64_t more) -> Shard& {
    if (shards_.back().bytes > 0 && shards_.back().bytes + more > sizes.shard_bytes) {
      shards_.emplace_back();
    }
    shards_.back().bytes += more;
    return shards_.back();
  };
  for (const auto& info : base_.tensors()) shard_for(sizes.bytes_of(info)).tensors.push_back(info);
  for (const auto& other : base_.others()) shard_for(other.bytes).others.push_back(other);
  for (size_t i = 0; i < shards_.size(); ++i) {
    shards_[i].file = shards_.size() == 1
                          ? "model.safetensors"
                          : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards_.size());
  }
}

void ModelFolder::write_tensors(const Source& source) {
  for (const Shard& shard : shards_) write(shard, source);
}

void ModelFolder::write(const Shard& shard, const Source& source) {
  std::vector<io::SafetensorsEntry> layout = source.entries(shard.tensors);
  for (const auto& other : shard.others) {
    layout.push_back({.name = other.name, .dtype = other.dtype, .shape = other.shape});
  }
  io::SafetensorsWriter writer(file(shard.file), std::move(layout));
  for (const io::SafetensorsEntry& entry : writer.entries()) {
    const auto other = std::ranges::find(shard.others, entry.name, &lora::OtherTensor::name);
    if (other != shard.others.end()) {
      copy(*other, writer);
    } else {
      writer.write(entry.name, source.bytes(entry.name));
    }
    weight_map_[entry.name] = shard.file;
    tensor_bytes_ += entry.bytes;
  }
  writer.commit();
}

void ModelFolder::copy(const lora::OtherTensor& other, io::SafetensorsWriter& writer) const {
  std::vector<std::byte> bytes;
  for (uint64_t begin = 0; begin < other.bytes; begin += bytes.size()) {
    bytes.resize(size_t(std::min<uint64_t>(kChunk, other.bytes - begin)));
    base_.read_other(other, begin, bytes);
    writer.write(other.name, bytes);
  }
}

void ModelFolder::write_index() const {
  if (shards_.size() == 1) return;
  const json index = {{"metadata", {{"total_size", tensor_bytes_}}}, {"weight_map", weight_map_}};
  io::write_file(file("model.safetensors.index.json"), index.dump(2) + "\n");
}

void ModelFolder::copy_small_files() const {
  if (!io::is_folder(base_.path())) return;
  for (const char* name : kSmallFiles) {
    const fs::path from = fs::path(base_.path()) / name;
    if (io::exists(from)) {
      io::write_file(file(name), io::read_file(from.string(), kMaxSmallFile));
    }
  }
}

void ModelFolder::write_tokenizer(std::vector<std::string>& notes) const {
  bool copied = false;
  if (io::is_folder(base_.path())) {
    for (const std::string_view name : kTokenizerFiles) {
      const fs::path from = fs::path(base_.path()) / name;
      if (!io::exists(from)) continue;
      io::write_file(file(std::string(name)), io::read_file(from.string(), kLargestTokenizerFile));
      copied = true;
    }
  }
  try {
    const Tokenizer tokenizer = Tokenizer::load(base_.path());
    // Of other vocabularies and of GGUF files, a tokenizer.json was made.
    for (const auto& [name, content] : tokenizer.files()) {
      if (!io::exists(file(name))) io::write_file(file(name), content);
    }
  } catch (const Error& error) {
    // The weights are no worse for it, and a model may come without.
    notes.push_back(fmt::format(
        "note: {}: {}",
        copied ? "the tokenizer was copied, but Tessera cannot read it" : "no tokenizer was copied",
        error.what()));
  }
}

std::vector<std::string> ModelFolder::commit(const json& config) {
  std::vector<std::string> notes;
  write_index();
  io::write_file(file("config.json"), config.dump(2) + "\n");
  copy_small_files();
  write_tokenizer(notes);
  lora::Checkpoint::open(temporary());
  temporary_.rename_to(path_);
  io::sync_folder(fs::path(path_).parent_path().string());
  return notes;
}

}  // namespace tessera::launch
