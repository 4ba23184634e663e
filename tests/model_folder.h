// For tests: the tensors of any spec as a folder of safetensors, without a config.json.
#pragma once

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "lora/model/tensors.h"
#include "runtime/io/hash.h"
#include "runtime/io/safetensors.h"
#include "tests/random_model.h"
#include "tests/scratch_folder.h"

namespace tessera::testing {

/// The values that write_tensors() gives a tensor, which depend on its name.
inline std::vector<float> values_of(const lora::TensorRow& row) {
  const std::string name = row.name();
  RandomNumbers random(uint32_t(io::hash_bytes(std::as_bytes(std::span(name)), 0)));
  size_t count = 1;
  for (int64_t extent : row.shape) count *= size_t(extent);
  std::vector<float> values(count);
  for (float& value : values) value = random.uniform(0.5f);
  return values;
}

/// In float32: one file, or with more than one shard files that the tensors are dealt to in turn,
/// and their index.
inline void write_tensors(const Folder& folder, const lora::ModelSpec& spec, size_t shards) {
  const std::vector<lora::TensorRow> rows = lora::tensors_of(spec);
  nlohmann::json map;
  for (size_t shard = 0; shard < shards; ++shard) {
    const std::string file =
        shards == 1 ? "model.safetensors"
                    : fmt::format("model-{:05}-of-{:05}.safetensors", shard + 1, shards);
    std::vector<io::SafetensorsEntry> layout;
    for (size_t i = shard; i < rows.size(); i += shards) {
      layout.push_back({.name = rows[i].name(), .dtype = "F32", .shape = rows[i].shape});
      map[rows[i].name()] = file;
    }
    io::SafetensorsWriter writer(folder.file(file), layout);
    for (const io::SafetensorsEntry& entry : writer.entries()) {
      const auto row = std::ranges::find(rows, entry.name, &lora::TensorRow::name);
      const std::vector<float> values = values_of(*row);
      writer.write(entry.name, std::as_bytes(std::span(values)));
    }
    writer.commit();
  }
  if (shards > 1) {
    folder.write("model.safetensors.index.json", nlohmann::json{{"weight_map", map}}.dump());
  }
}

}  // namespace tessera::testing
