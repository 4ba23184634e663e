// Any floats, names and texts make a GGUF file whose reader gives them back, or an Error. The
// blocks of a file decode to finite values.
#include <array>
#include <cmath>
#include <cstring>

#include "runtime/core/error.h"
#include "runtime/io/gguf.h"
#include "runtime/io/gguf_encode.h"
#include "runtime/io/gguf_writer.h"
#include "tests/fuzz/memory_file.h"

namespace {

using namespace tessera;

constexpr std::array kTypes = {
    io::GgufType::kF32, io::GgufType::kF16, io::GgufType::kBF16, io::kQ4_0, io::kQ4_1, io::kQ5_0,
    io::kQ5_1,          io::kQ8_0,          io::kQ4_K,           io::kQ5_K, io::kQ6_K};
constexpr size_t kColumns = 256, kTextBytes = 64;

/// Two rows of the input's floats, or of as many as it has.
std::vector<float> values_of(std::string_view input) {
  std::vector<float> values(2 * kColumns, 0.0f);
  std::memcpy(values.data(), input.data(), std::min(input.size(), values.size() * sizeof(float)));
  return values;
}

void check(io::GgufType type, std::string_view name, std::string_view input) {
  const std::vector<float> values = values_of(input);
  const io::GgufBlock block = io::block_of(type);
  std::vector<std::byte> blocks(values.size() / block.elements * block.bytes);
  io::encode(type, {"fuzz", 0, kColumns, values}, blocks);
  std::vector<float> decoded(values.size());
  io::decode(type, blocks, decoded);
  for (const float value : decoded) TESSERA_CHECK(std::isfinite(value));

  const std::string text(input.substr(0, kTextBytes));
  io::GgufMetadata metadata;
  metadata.put_text("general.architecture", text);
  metadata.put_texts("texts", std::vector<std::string>{text, std::string(name)});
  metadata.put_f32s("floats", values);
  const io::GgufLayout layout = io::lay_out(metadata, {{std::string(name), type, {2, kColumns}}});
  std::string file = layout.header;
  file.append(reinterpret_cast<const char*>(blocks.data()), blocks.size());
  TESSERA_CHECK(file.size() <= layout.file_bytes);
  file.resize(layout.file_bytes);
  const testing::MemoryFile memory(reinterpret_cast<const uint8_t*>(file.data()), file.size());
  const io::GgufFile read(memory.path());
  TESSERA_CHECK(read.string("general.architecture") == text);
  TESSERA_CHECK(read.strings("texts").at(1) == name);
  const io::GgufTensor* tensor = read.find(name);
  TESSERA_CHECK(tensor != nullptr && tensor->type == type);
  std::vector<std::byte> again(tensor->bytes);
  read.read(*tensor, again);
  TESSERA_CHECK(again == blocks);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (bytes.size() < 2) return 0;
  const io::GgufType type = kTypes[uint8_t(bytes[0]) % kTypes.size()];
  const size_t length = std::min<size_t>(uint8_t(bytes[1]), bytes.size() - 2);
  try {
    check(type, bytes.substr(2, length), bytes.substr(2 + length));
  } catch (const Error& error) {
    TESSERA_CHECK(std::string_view(error.what()).find('\n') == std::string_view::npos);
  }
  return 0;
}
