#include "runtime/io/gguf_writer.h"

#include <array>

#include "runtime/core/error.h"
#include "runtime/io/gguf.h"
#include "runtime/io/printable.h"

namespace tessera::io {
namespace {

constexpr uint64_t kAlignment = 32;
constexpr size_t kMaxDimensions = 4;

uint64_t aligned(uint64_t size) { return (size + kAlignment - 1) / kAlignment * kAlignment; }

template <class T>
void append(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void append_text(std::string& bytes, std::string_view text) {
  append(bytes, uint64_t(text.size()));
  bytes += text;
}

uint64_t bytes_of(const GgufEntry& entry) {
  if (entry.shape.empty() || entry.shape.size() > kMaxDimensions) {
    fail("tensor '{}' has {} dimensions; GGUF takes 1 to {}", printable(entry.name),
         entry.shape.size(), kMaxDimensions);
  }
  const GgufBlock block = block_of(entry.type);
  TESSERA_CHECK(block.elements > 0);
  uint64_t count = 1;
  for (const int64_t extent : entry.shape) count *= uint64_t(extent);
  if (uint64_t(entry.shape.back()) % block.elements != 0) {
    fail("tensor '{}' has rows of {} values, which is no multiple of {}, the block of {}",
         printable(entry.name), entry.shape.back(), block.elements, block.name);
  }
  return count / block.elements * block.bytes;
}

}  // namespace

void GgufMetadata::begin(std::string_view key, uint32_t type) {
  if (!keys_.emplace(key).second) fail("metadata {} is put twice", printable(key));
  append_text(bytes_, key);
  append(bytes_, type);
}

void GgufMetadata::begin_array(std::string_view key, uint32_t element_type, size_t count) {
  begin(key, uint32_t(GgufValueType::kArray));
  append(bytes_, element_type);
  append(bytes_, uint64_t(count));
}

void GgufMetadata::put_u32(std::string_view key, uint32_t value) {
  begin(key, uint32_t(GgufValueType::kU32));
  append(bytes_, value);
}

void GgufMetadata::put_f32(std::string_view key, float value) {
  begin(key, uint32_t(GgufValueType::kF32));
  append(bytes_, value);
}

void GgufMetadata::put_bool(std::string_view key, bool value) {
  begin(key, uint32_t(GgufValueType::kBool));
  append(bytes_, uint8_t(value));
}

void GgufMetadata::put_text(std::string_view key, std::string_view value) {
  begin(key, uint32_t(GgufValueType::kString));
  append_text(bytes_, value);
}

void GgufMetadata::put_texts(std::string_view key, std::span<const std::string> values) {
  begin_array(key, uint32_t(GgufValueType::kString), values.size());
  for (const std::string& value : values) append_text(bytes_, value);
}

void GgufMetadata::put_i32s(std::string_view key, std::span<const int32_t> values) {
  begin_array(key, uint32_t(GgufValueType::kI32), values.size());
  for (const int32_t value : values) append(bytes_, value);
}

void GgufMetadata::put_i8s(std::string_view key, std::span<const int8_t> values) {
  begin_array(key, uint32_t(GgufValueType::kI8), values.size());
  for (const int8_t value : values) append(bytes_, value);
}

void GgufMetadata::put_f32s(std::string_view key, std::span<const float> values) {
  begin_array(key, uint32_t(GgufValueType::kF32), values.size());
  for (const float value : values) append(bytes_, value);
}

void GgufMetadata::put_bools(std::string_view key, const std::vector<bool>& values) {
  begin_array(key, uint32_t(GgufValueType::kBool), values.size());
  for (const bool value : values) append(bytes_, uint8_t(value));
}

GgufLayout lay_out(const GgufMetadata& metadata, std::vector<GgufEntry> entries) {
  GgufLayout layout;
  std::string& header = layout.header;
  header = "GGUF";
  append(header, uint32_t(3));
  append(header, uint64_t(entries.size()));
  append(header, metadata.count());
  header += metadata.bytes();
  std::set<std::string_view> names;
  uint64_t offset = 0;
  for (GgufEntry& entry : entries) {
    entry.bytes = bytes_of(entry);
    if (!names.insert(entry.name).second) fail("tensor '{}' is given twice", printable(entry.name));
    append_text(header, entry.name);
    append(header, uint32_t(entry.shape.size()));
    for (size_t i = entry.shape.size(); i-- > 0;) append(header, uint64_t(entry.shape[i]));
    append(header, uint32_t(entry.type));
    append(header, offset);
    offset += aligned(entry.bytes);
  }
  header.resize(aligned(header.size()), '\0');
  layout.file_bytes = header.size() + offset;
  layout.entries = std::move(entries);
  return layout;
}

GgufWriter::GgufWriter(const std::string& path, GgufLayout layout)
    : file_(path), entries_(std::move(layout.entries)) {
  file_.write(layout.header);
}

void GgufWriter::write(std::string_view name, std::span<const std::byte> bytes) {
  TESSERA_CHECK(current_ < entries_.size() && entries_[current_].name == name);
  const GgufEntry& entry = entries_[current_];
  TESSERA_CHECK(bytes.size() <= entry.bytes - written_);
  file_.write(bytes);
  written_ += bytes.size();
  if (written_ < entry.bytes) return;
  constexpr std::array<std::byte, kAlignment> kZeros{};
  file_.write(std::span(kZeros).first(size_t(aligned(written_) - written_)));
  ++current_;
  written_ = 0;
}

void GgufWriter::commit() {
  TESSERA_CHECK(current_ == entries_.size());
  file_.commit();
}

}  // namespace tessera::io
