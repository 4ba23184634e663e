// Writes GGUF files, version 3, little-endian, aligned to 32 bytes: metadata, then where each
// tensor is, then the tensors' bytes. The size is known before the first byte is written, and the
// file appears whole or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/io/file.h"
#include "runtime/io/gguf_blocks.h"

namespace tessera::io {

/// Metadata in the order in which they are put. Each key is put once.
class GgufMetadata {
 public:
  void put_u32(std::string_view key, uint32_t value);
  void put_f32(std::string_view key, float value);
  void put_bool(std::string_view key, bool value);
  void put_text(std::string_view key, std::string_view value);
  void put_texts(std::string_view key, std::span<const std::string> values);
  void put_i32s(std::string_view key, std::span<const int32_t> values);
  void put_i8s(std::string_view key, std::span<const int8_t> values);
  void put_f32s(std::string_view key, std::span<const float> values);
  void put_bools(std::string_view key, const std::vector<bool>& values);

  bool has(std::string_view key) const { return keys_.contains(key); }
  uint64_t count() const { return keys_.size(); }
  /// As they stand in the file.
  const std::string& bytes() const { return bytes_; }

 private:
  void begin(std::string_view key, uint32_t type);
  void begin_array(std::string_view key, uint32_t element_type, size_t count);

  std::set<std::string, std::less<>> keys_;
  std::string bytes_;
};

/// A tensor that a file is to hold.
struct GgufEntry {
  std::string name;
  GgufType type = GgufType::kF32;
  std::vector<int64_t> shape;  // row-major
  uint64_t bytes = 0;          // computed by lay_out()
};

/// A file without its tensors' bytes.
struct GgufLayout {
  std::string header;  // padded, up to the first tensor's bytes
  std::vector<GgufEntry> entries;
  uint64_t file_bytes = 0;
};

/// The tensors come in the order given. Error naming the tensor for a row that is no multiple of
/// the type's block, a name given twice, and a shape of no or more than four dimensions.
GgufLayout lay_out(const GgufMetadata& metadata, std::vector<GgufEntry> entries);

class GgufWriter {
 public:
  GgufWriter(const std::string& path, GgufLayout layout);

  /// The next bytes of the tensor `name`, which may be written in several pieces; tensors come in
  /// the layout's order.
  void write(std::string_view name, std::span<const std::byte> bytes);
  /// Makes the file visible (see AtomicFile).
  void commit();

 private:
  AtomicFile file_;
  std::vector<GgufEntry> entries_;
  size_t current_ = 0;    // of entries_
  uint64_t written_ = 0;  // bytes of the current tensor
};

}  // namespace tessera::io
