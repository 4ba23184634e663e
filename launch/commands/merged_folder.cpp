#include "launch/commands/merged_folder.h"

#include <stdlib.h>
#include <sys/stat.h>

#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "launch/console/progress.h"
#include "launch/text/tokenizer.h"
#include "lora/model/families.h"
#include "runtime/core/error.h"
#include "runtime/io/file.h"
#include "runtime/io/folder.h"
#include "runtime/io/json.h"
#include "runtime/io/safetensors.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr size_t kMaxConfig = size_t{1} << 20;
constexpr const char* kGenerationConfig = "generation_config.json";

/// A new folder beside `path`, which must not exist.
std::string make_temporary(const fs::path& path) {
  std::error_code error;
  if (fs::exists(fs::symlink_status(path, error))) {  // a link that leads nowhere counts, too
    fail_usage("{} exists already; choose another --output, or remove it", path.string());
  }
  fs::create_directories(path.parent_path(), error);
  std::string name = path.string() + ".XXXXXX";
  if (error || ::mkdtemp(name.data()) == nullptr) {
    fail("cannot create {}: {}", path.string(),
         error ? error.message() : std::string(std::strerror(errno)));
  }
  return name;
}

}  // namespace

MergedFolder::MergedFolder(const std::string& path, const lora::Checkpoint& base, DType dtype,
                           uint64_t shard_bytes)
    // "out/" and "out" are one folder.
    : path_(io::absolute(path).string()),
      temporary_(make_temporary(path_)),
      base_(base),
      dtype_(dtype) {
  for (const auto& info : base.tensors()) {
    tensor_bytes_ += uint64_t(info.numel()) * size_of(dtype);
  }
  shards_ = split(shard_bytes);
  std::error_code error;
  const fs::space_info space = fs::space(temporary_, error);
  if (!error && space.available < tensor_bytes_) {
    fs::remove_all(temporary_, error);
    fail("{} needs {}, but its disk has {} free", path_, format_bytes(int64_t(tensor_bytes_)),
         format_bytes(int64_t(space.available)));
  }
}

MergedFolder::~MergedFolder() {
  std::error_code ignored;
  if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
}

std::vector<MergedFolder::Shard> MergedFolder::split(uint64_t shard_bytes) const {
  std::vector<Shard> shards(1);
  uint64_t bytes = 0;
  for (const auto& info : base_.tensors()) {
    const uint64_t more = uint64_t(info.numel()) * size_of(dtype_);
    if (bytes > 0 && bytes + more > shard_bytes) {
      shards.emplace_back();
      bytes = 0;
    }
    bytes += more;
    shards.back().tensors.push_back(info);
  }
  for (size_t i = 0; i < shards.size(); ++i) {
    shards[i].file = shards.size() == 1
                         ? "model.safetensors"
                         : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
  }
  return shards;
}

void MergedFolder::write_tensors(
    FunctionRef<std::span<const std::byte>(const std::string& name)> make) {
  for (const Shard& shard : shards_) {
    std::vector<io::SafetensorsEntry> layout;
    for (const auto& info : shard.tensors) {
      layout.push_back({info.name, io::safetensors_name(dtype_), info.shape, 0, 0});
    }
    io::SafetensorsWriter writer(file(shard.file), std::move(layout));
    for (const auto& entry : writer.entries()) writer.write(entry.name, make(entry.name));
    writer.commit();
  }
}

void MergedFolder::write_index() const {
  if (shards_.size() == 1) return;
  json map = json::object();
  for (const Shard& shard : shards_) {
    for (const auto& info : shard.tensors) map[info.name] = shard.file;
  }
  const json index = {{"metadata", {{"total_size", tensor_bytes_}}}, {"weight_map", map}};
  io::write_file(file("model.safetensors.index.json"), index.dump(2) + "\n");
}

void MergedFolder::write_config() const {
  if (base_.config().empty()) {
    lora::ModelSpec spec = base_.spec();
    spec.dtype = dtype_;
    return io::write_file(file("config.json"), lora::config_text(spec));
  }
  json config = io::parse_json(base_.config(), base_.path());
  config[config.contains("dtype") ? "dtype" : "torch_dtype"] = name_of(dtype_);
  io::write_file(file("config.json"), config.dump(2) + "\n");
  const fs::path generation = fs::path(base_.path()) / kGenerationConfig;
  if (io::exists(generation)) {
    io::write_file(file(kGenerationConfig), io::read_file(generation.string(), kMaxConfig));
  }
}

void MergedFolder::write_tokenizer(std::vector<std::string>& notes) const {
  try {
    for (const auto& [name, content] : Tokenizer::load(base_.path()).files()) {
      io::write_file(file(name), content);
    }
  } catch (const Error& error) {
    // The weights are no worse for it, and a model may come without.
    notes.push_back(fmt::format("note: no tokenizer was copied: {}", error.what()));
  }
}

std::vector<std::string> MergedFolder::commit() {
  std::vector<std::string> notes;
  write_index();
  write_config();
  write_tokenizer(notes);
  lora::Checkpoint::open(temporary_);
  ::chmod(temporary_.c_str(), 0755);  // mkdtemp's is private
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    fail("cannot rename {} to {}: {}", temporary_, path_, std::strerror(errno));
  }
  temporary_.clear();
  io::sync_folder(fs::path(path_).parent_path().string());
  return notes;
}

}  // namespace tessera::launch
