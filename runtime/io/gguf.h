// GGUF model files, versions 2 and 3, little-endian: metadata and tensors, read on demand. A model
// that llama.cpp split into parts is read as one. Any file gives an Error or tensors that lie
// inside it. Opening remembers where things are, not what they are, so memory does not grow with
// metadata. Reads are safe from several threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "runtime/io/file.h"
#include "runtime/io/gguf_blocks.h"

namespace tessera::io {

struct GgufTensor {
  std::string name;
  GgufType type = GgufType::kF32;
  std::vector<int64_t> shape;  // row-major: the file's dimensions reversed; none is zero
  uint64_t offset = 0;         // of the first byte, from the start of its file
  uint64_t bytes = 0;
  size_t part = 0;  // the file, of those of take_files(); 0 unless the model is split
};

/// Types of metadata values; the numbers that stand in the file.
enum class GgufValueType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};

class GgufFile {
 public:
  /// Any part of a split model opens all of them; Error naming the part that is missing or does not
  /// belong to the others.
  explicit GgufFile(const std::string& path) : GgufFile(ReadFile(path)) {}
  explicit GgufFile(ReadFile file);

  /// The file of the metadata: the first part of a split model.
  const std::string& path() const { return files_.front().path(); }
  const std::string& path_of(const GgufTensor& tensor) const { return files_[tensor.part].path(); }
  /// Gives up the open files, one for each part, for a caller that has noted the offsets it needs.
  std::vector<ReadFile> take_files() && { return std::move(files_); }
  bool has(std::string_view key) const;
  /// False for a key that is not there.
  bool is_array(std::string_view key) const;
  /// All metadata keys, sorted.
  std::vector<std::string> keys() const;
  // Each throws Error naming the key when it is missing or of another type. integer() takes every
  // integer type whose value fits, real() also takes integers.
  std::string string(std::string_view key) const;
  int64_t integer(std::string_view key) const;
  double real(std::string_view key) const;
  bool boolean(std::string_view key) const;
  std::vector<std::string> strings(std::string_view key) const;
  std::vector<int64_t> integers(std::string_view key) const;
  /// Of floating-point numbers or integers.
  std::vector<double> reals(std::string_view key) const;
  /// Of booleans, or of integers, of which zero is false.
  std::vector<bool> booleans(std::string_view key) const;
  /// Elements of an array, without reading them.
  uint64_t count(std::string_view key) const;

  /// In the order of their bytes, part after part.
  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  /// Null when there is no such tensor.
  const GgufTensor* find(std::string_view name) const;
  /// The tensor's bytes as stored; `out` has exactly tensor.bytes.
  void read(const GgufTensor& tensor, std::span<std::byte> out) const;
  /// A part of them, from `begin` bytes after the tensor's first.
  void read(const GgufTensor& tensor, uint64_t begin, std::span<std::byte> out) const;

 private:
  struct Value {
    GgufValueType type;  // of an array: of its elements
    bool is_array;
    uint64_t count;   // 1 unless an array
    uint64_t offset;  // of the value's first byte, after an array's count
  };
  class Parser;
  struct OnePart {};
  /// One file, whatever it says of others.
  GgufFile(OnePart, ReadFile file);
  /// All parts of the split model of which `any` is one.
  static GgufFile joined(const GgufFile& any);
  const Value& value(std::string_view key, bool is_array, std::string_view wanted) const;

  std::vector<ReadFile> files_;
  std::map<std::string, Value, std::less<>> values_;
  std::vector<GgufTensor> tensors_;
  std::unordered_map<std::string_view, size_t> index_;  // views into tensors_
};

}  // namespace tessera::io
