// The safetensors files of a Hugging Face folder as one set of tensors: model.safetensors, or the
// shards that an index names.
// Inside the checkpoint reader only.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "runtime/io/safetensors.h"

namespace tessera::lora {

class Shards {
 public:
  struct Found {
    size_t file;  // of files()
    const io::SafetensorsEntry* entry;
  };

  /// Opens them. Error for a file that is missing or damaged, and for a tensor that is in two
  /// files. As in transformers the index only names the files: a tensor may be in another of them
  /// than it says, in none, or not be listed.
  explicit Shards(const std::string& folder);

  const std::vector<io::SafetensorsFile>& files() const { return files_; }
  std::optional<Found> find(std::string_view name) const;
  const std::string& path(const Found& found) const { return files_[found.file].path(); }
  void read(const Found& found, std::span<std::byte> out) const {
    files_[found.file].read(*found.entry, out);
  }
  /// Gives up the open files, in their order.
  std::vector<io::ReadFile> take_files() &&;

 private:
  std::vector<io::SafetensorsFile> files_;
  std::unordered_map<std::string_view, Found> found_;  // names and entries are those of the files
};

}  // namespace tessera::lora
