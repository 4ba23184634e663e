// The tensors of a Hugging Face folder: model.safetensors, or the shards of an index.
#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <utility>

#include "lora/model/checkpoint_source.h"
#include "runtime/core/error.h"
#include "runtime/io/folder.h"
#include "runtime/io/json.h"
#include "runtime/io/pickle.h"
#include "runtime/io/printable.h"
#include "runtime/io/safetensors.h"

namespace tessera::lora {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxIndex = 1 << 26;
constexpr size_t kMaxShards = 512;  // each stays open
constexpr std::string_view kSingle = "model.safetensors";
constexpr std::string_view kIndex = "model.safetensors.index.json";

using Shards = std::vector<io::SafetensorsFile>;

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

/// Opens all shards that the index names, and holds it and them against each other.
Shards open_shards(const fs::path& folder) {
  const std::string index = (folder / kIndex).string();
  const nlohmann::json root = io::read_json_file(index, kMaxIndex);
  const auto map = root.is_object() ? root.find("weight_map") : root.end();
  if (!root.is_object() || map == root.end() || !map->is_object() || map->empty()) {
    fail("{}: weight_map is missing or empty, expected tensor names and their files", index);
  }
  std::map<std::string, std::vector<std::string>> tensors_of;  // shard -> tensor names
  for (const auto& [tensor, shard] : map->items()) {
    check_shard_name(index, tensor, shard);
    tensors_of[shard.get<std::string>()].push_back(tensor);
  }
  if (tensors_of.size() > kMaxShards) {
    fail("{}: names {} files, at most {} are allowed", index, tensors_of.size(), kMaxShards);
  }
  Shards shards;
  for (const auto& [shard, tensors] : tensors_of) {
    const fs::path file = folder / shard;
    if (!io::exists(file)) {
      fail("{}: the shard {} is missing; download the model again", index, file.string());
    }
    shards.emplace_back(file.string());
    for (const std::string& tensor : tensors) {
      if (!shards.back().find(tensor)) {
        fail("{}: tensor '{}' is missing; {} says it is here", file.string(), io::printable(tensor),
             kIndex);
      }
    }
    for (const io::SafetensorsEntry& entry : shards.back().entries()) {
      const auto listed = map->find(entry.name);
      if (listed == map->end() || *listed != shard) {
        fail("{}: tensor '{}' is not listed for this file in {}", file.string(),
             io::printable(entry.name), kIndex);
      }
    }
  }
  return shards;
}

Shards open_files(const fs::path& folder) {
  if (io::exists(folder / kSingle)) {
    Shards shards;
    shards.emplace_back((folder / kSingle).string());
    return shards;
  }
  if (io::exists(folder / kIndex)) return open_shards(folder);
  for (const std::string& name : io::names_in(folder)) {
    if (io::has_pickle_name(name)) io::refuse_pickle((folder / name).string());
  }
  fail("{}: holds neither {} nor {}", folder.string(), kSingle, kIndex);
}

struct Found {
  size_t file;
  const io::SafetensorsEntry* entry;
};

std::optional<Found> find(const Shards& shards, std::string_view name) {
  for (size_t i = 0; i < shards.size(); ++i) {
    if (const io::SafetensorsEntry* entry = shards[i].find(name)) return Found{i, entry};
  }
  return std::nullopt;
}

DType dtype_of(const io::SafetensorsEntry& entry, std::string_view file) {
  const std::optional<DType> dtype = io::safetensors_dtype(entry.dtype);
  if (dtype && is_float(*dtype)) return *dtype;
  fail("{}: tensor '{}' is {}; a weight has to be F32, BF16 or F16", file,
       io::printable(entry.name), entry.dtype);
}

bool same_bytes(const Shards& shards, const Found& a, const Found& b) {
  if (a.entry->dtype != b.entry->dtype || a.entry->shape != b.entry->shape) return false;
  std::vector<std::byte> left(1 << 20), right(1 << 20);
  for (uint64_t begin = 0; begin < a.entry->bytes; begin += left.size()) {
    const size_t n = std::min<uint64_t>(left.size(), a.entry->bytes - begin);
    shards[a.file].read(*a.entry, begin, std::span(left).first(n));
    shards[b.file].read(*b.entry, begin, std::span(right).first(n));
    if (!std::equal(left.begin(), left.begin() + std::ptrdiff_t(n), right.begin())) return false;
  }
  return true;
}

/// With a tied head either name may be the stored one. Both are fine if they hold the same.
Found find_tied(const Shards& shards, const std::string& folder) {
  const std::optional<Found> embedding = find(shards, kEmbeddingWeight);
  const std::optional<Found> head = find(shards, kHeadWeight);
  if (!embedding && !head) {
    fail("{}: neither '{}' nor '{}' is there", folder, kEmbeddingWeight, kHeadWeight);
  }
  if (embedding && head && !same_bytes(shards, *embedding, *head)) {
    fail(
        "{}: tie_word_embeddings is true, but '{}' and '{}' differ; set it to false in "
        "config.json to use both",
        folder, kEmbeddingWeight, kHeadWeight);
  }
  return embedding ? *embedding : *head;
}

/// Tensors that a model of the config does not have mean that it is another model; except the
/// rotary frequencies that old checkpoints carry, which are computed.
void check_no_others(const Shards& shards, const CheckpointSource& source, const ModelSpec& spec) {
  for (const io::SafetensorsFile& shard : shards) {
    for (const io::SafetensorsEntry& entry : shard.entries()) {
      const bool known = source.has(entry.name) || entry.name.ends_with(".inv_freq") ||
                         (spec.tied_head && entry.name == kHeadWeight);
      if (!known) {
        fail("{}: tensor '{}' does not belong to a {}", shard.path(), io::printable(entry.name),
             spec.architecture);
      }
    }
  }
}

}  // namespace

FoundTensors find_tensors(const ModelSpec& spec, const std::string& folder) {
  Shards shards = open_files(folder);
  FoundTensors found;
  for (const TensorRow& row : tensors_of(spec)) {
    TensorInfo info = info_of(row);
    const bool tied = spec.tied_head && row.role == Role::kEmbedding;
    const std::optional<Found> at = tied ? find_tied(shards, folder) : find(shards, info.name);
    if (!at) {
      fail("{}: tensor '{}' is missing{}", folder, info.name,
           row.role == Role::kHead
               ? "; where the head is tied, config.json says tie_word_embeddings"
               : "");
    }
    const std::string& file = shards[at->file].path();
    check_shape(info, at->entry->shape, file);
    info.dtype = dtype_of(*at->entry, file);
    found.source.add(info.name, {.file = at->file,
                                 .offset = at->entry->offset,
                                 .encoding = io::stored_as(info.dtype),
                                 .interleaved_heads = 0});
    found.tensors.push_back(std::move(info));
  }
  check_no_others(shards, found.source, spec);
  for (io::SafetensorsFile& shard : shards) {
    found.source.files.push_back(std::move(shard).take_file());
  }
  return found;
}

}  // namespace tessera::lora
