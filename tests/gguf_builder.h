// For tests: puts GGUF files together byte by byte, correct ones and broken ones.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tessera::testing {

template <class T>
std::string raw(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}

inline std::string gguf_text(std::string_view text) {
  return raw(uint64_t(text.size())) + std::string(text);
}

struct GgufBuilder {
  std::string magic = "GGUF";
  uint32_t version = 3;
  uint64_t alignment = 32;
  std::string pairs;
  uint64_t pair_count = 0;
  std::string infos;
  uint64_t tensor_count = 0;
  std::string data;

  /// A value with its type's number and its bytes.
  GgufBuilder& pair(std::string_view key, uint32_t type, std::string_view bytes) {
    pairs += gguf_text(key) + raw(type) + std::string(bytes);
    ++pair_count;
    return *this;
  }
  GgufBuilder& u32(std::string_view key, uint32_t value) { return pair(key, 4, raw(value)); }
  GgufBuilder& f32(std::string_view key, float value) { return pair(key, 6, raw(value)); }
  GgufBuilder& text(std::string_view key, std::string_view value) {
    return pair(key, 8, gguf_text(value));
  }
  /// An array that claims `count` elements of a type.
  GgufBuilder& array(std::string_view key, uint32_t type, uint64_t count, std::string_view bytes) {
    return pair(key, 9, raw(type) + raw(count) + std::string(bytes));
  }

  /// An info as given; the dimensions are in the file's order, the row's length first.
  GgufBuilder& info(std::string_view name, const std::vector<uint64_t>& dims, uint32_t type,
                    uint64_t offset) {
    infos += gguf_text(name) + raw(uint32_t(dims.size()));
    for (const uint64_t extent : dims) infos += raw(extent);
    infos += raw(type) + raw(offset);
    ++tensor_count;
    return *this;
  }
  /// An info and its bytes, at the next aligned place.
  GgufBuilder& tensor(std::string_view name, const std::vector<uint64_t>& dims, uint32_t type,
                      std::string_view bytes) {
    pad(data);
    info(name, dims, type, data.size());
    data += bytes;
    return *this;
  }

  std::string build() const {
    std::string file = magic + raw(version) + raw(tensor_count) + raw(pair_count) + pairs + infos;
    if (tensor_count > 0) pad(file);
    return file + data;
  }

 private:
  void pad(std::string& bytes) const {
    bytes.resize((bytes.size() + alignment - 1) / alignment * alignment, '\0');
  }
};

}  // namespace tessera::testing
