#include "lora/model/checkpoint_shards.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <utility>

#include "runtime/core/error.h"
#include "runtime/io/folder.h"
#include "runtime/io/json.h"
#include "runtime/io/pickle.h"
#include "runtime/io/printable.h"

namespace tessera::lora {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxIndex = 1 << 26;
constexpr size_t kMaxShards = 512;  // each stays open
constexpr std::string_view kSingle = "model.safetensors";
constexpr std::string_view kIndex = "model.safetensors.index.json";

using WeightMap = std::map<std::string, std::string>;  // tensor -> file

/// A plain file name; anything else could lead out of the folder.
bool is_plain_name(std::string_view name) {
  if (name.empty() || name.front() == '.' || !name.ends_with(".safetensors")) return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '.' ||
           c == '_' || c == '-';
  });
}

void check_shard_name(const std::string& index, const std::string& tensor,
                      const nlohmann::json& value) {
  if (!value.is_string()) {
    fail("{}: weight_map of '{}' is not a string", index, io::printable(tensor));
  }
  const auto& name = value.get_ref<const std::string&>();
  if (io::has_pickle_name(name)) io::refuse_pickle(index + " -> " + io::printable(name));
  if (!is_plain_name(name)) {
    fail("{}: weight_map of '{}' is '{}', not a plain file name that ends in .safetensors", index,
         io::printable(tensor), io::printable(name));
  }
}

WeightMap read_index(const std::string& index) {
  const nlohmann::json root = io::read_json_file(index, kMaxIndex);
  const auto map = root.is_object() ? root.find("weight_map") : root.end();
  if (!root.is_object() || map == root.end() || !map->is_object() || map->empty()) {
    fail("{}: weight_map is missing or empty, expected tensor names and their files", index);
  }
  WeightMap listed;
  for (const auto& [tensor, shard] : map->items()) {
    check_shard_name(index, tensor, shard);
    listed[tensor] = shard.get<std::string>();
  }
  return listed;
}

/// The files of the folder; `listed` is what its index says, if it has one.
std::vector<std::string> files_of(const fs::path& folder, WeightMap& listed) {
  if (io::exists(folder / kSingle)) return {std::string(kSingle)};
  if (!io::exists(folder / kIndex)) {
    for (const std::string& name : io::names_in(folder)) {
      if (io::has_pickle_name(name)) io::refuse_pickle((folder / name).string());
    }
    fail("{}: holds neither {} nor {}", folder.string(), kSingle, kIndex);
  }
  const std::string index = (folder / kIndex).string();
  listed = read_index(index);
  std::vector<std::string> names;
  for (const auto& [tensor, shard] : listed) names.push_back(shard);
  std::ranges::sort(names);
  names.erase(std::unique(names.begin(), names.end()), names.end());
  if (names.size() > kMaxShards) {
    fail("{}: names {} files, at most {} are allowed", index, names.size(), kMaxShards);
  }
  for (const std::string& name : names) {
    if (!io::exists(folder / name)) {
      fail("{}: the shard {} is missing; download the model again", index,
           (folder / name).string());
    }
  }
  return names;
}

}  // namespace

Shards::Shards(const std::string& folder) {
  WeightMap listed;
  for (const std::string& name : files_of(folder, listed)) {
    files_.emplace_back((fs::path(folder) / name).string());
  }
  for (size_t file = 0; file < files_.size(); ++file) {
    for (const io::SafetensorsEntry& entry : files_[file].entries()) {
      const auto [at, fresh] = found_.try_emplace(entry.name, Found{file, &entry});
      if (fresh) continue;
      const std::string& first = files_[at->second.file].path();
      const auto said = listed.find(entry.name);
      const bool in_second = said != listed.end() && files_[file].path().ends_with(said->second);
      fail("{}: tensor '{}' is not listed for this file in {}, but {} holds it, too",
           in_second ? first : files_[file].path(), io::printable(entry.name), kIndex,
           in_second ? files_[file].path() : first);
    }
  }
}

std::optional<Shards::Found> Shards::find(std::string_view name) const {
  const auto found = found_.find(name);
  return found == found_.end() ? std::nullopt : std::optional(found->second);
}

std::vector<io::ReadFile> Shards::take_files() && {
  found_.clear();
  std::vector<io::ReadFile> files;
  for (io::SafetensorsFile& file : files_) files.push_back(std::move(file).take_file());
  return files;
}

}  // namespace tessera::lora
