// GGUF models that llama.cpp split into parts, NAME-00001-of-00003.gguf and so on: the parts' names
// and metadata keys. Every part says which one it is; the first has the model's metadata.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace tessera::io {

inline constexpr std::string_view kSplitNumber = "split.no";  // from 0
inline constexpr std::string_view kSplitCount = "split.count";
inline constexpr std::string_view kSplitTensors = "split.tensors.count";  // of all parts

struct GgufPartName {
  std::string name;   // what comes before the number, with the folder
  uint32_t part = 0;  // from 1 to count
  uint32_t count = 0;

  std::string path_of(uint32_t other_part) const;
};

/// What a part's path says; nothing for a path that is not spelt like one.
std::optional<GgufPartName> gguf_part_name(std::string_view path);

/// Whether all paths are spelt as parts of the same model.
bool are_parts_of_one(std::span<const std::string> paths);

}  // namespace tessera::io
