// Files of named tensors in Hugging Face's safetensors format: a strict reader and a writer.
// The reader takes any file and answers with an Error or with entries that lie inside the file,
// without holes or overlaps. It never maps the file; read() is safe from several threads at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "runtime/core/dtype.h"
#include "runtime/io/file.h"

namespace tessera::io {

struct SafetensorsEntry {
  std::string name;
  std::string dtype;  // as in the file: "F32", "BF16", "U8", ...
  std::vector<int64_t> shape;
  uint64_t offset = 0;  // of the first byte, from the start of the file
  uint64_t bytes = 0;
};

/// The format's name of a dtype: "F32".
std::string safetensors_name(DType dtype);
/// The dtype of that name; none for a name that the format does not know or Tessera has no type
/// for.
std::optional<DType> safetensors_dtype(std::string_view name);

class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::string& path);

  const std::string& path() const { return file_.path(); }
  /// Gives up the open file, for a caller that has noted the offsets it needs.
  ReadFile take_file() && { return std::move(file_); }
  /// In the order of their bytes in the file.
  const std::vector<SafetensorsEntry>& entries() const { return entries_; }
  /// Null when there is no such tensor.
  const SafetensorsEntry* find(std::string_view name) const;
  /// The tensor's bytes; `out` has exactly entry.bytes.
  void read(const SafetensorsEntry& entry, std::span<std::byte> out) const;
  /// A part of them, from `begin` bytes after the tensor's first.
  void read(const SafetensorsEntry& entry, uint64_t begin, std::span<std::byte> out) const;
  /// The header's __metadata__.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  ReadFile file_;
  std::vector<SafetensorsEntry> entries_;
  std::map<std::string, std::string> metadata_;
  std::unordered_map<std::string_view, size_t> index_;  // views into entries_
};

/// Writes the file tensor by tensor; commit() makes it visible (see AtomicFile). The bytes are
/// those that the reference writer gives: wider dtypes first, equal ones by name, header padded
/// to 8.
class SafetensorsWriter {
 public:
  /// `layout` gives name, dtype and shape, in any order; offsets and bytes are computed.
  SafetensorsWriter(const std::string& path, std::vector<SafetensorsEntry> layout,
                    std::map<std::string, std::string> metadata = {{"format", "pt"}});

  /// The layout in file order, the order in which tensors have to be written.
  const std::vector<SafetensorsEntry>& entries() const { return entries_; }
  /// The next bytes of the tensor `name`; a tensor may be written in several pieces.
  void write(std::string_view name, std::span<const std::byte> bytes);
  void commit();

 private:
  AtomicFile file_;
  std::vector<SafetensorsEntry> entries_;
  size_t current_ = 0;    // of entries_
  uint64_t written_ = 0;  // bytes of the current tensor
};

}  // namespace tessera::io
