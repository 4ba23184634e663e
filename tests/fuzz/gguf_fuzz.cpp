// Any bytes give an Error, or metadata that every accessor answers for, the model's settings in
// them, and tensors that decode.
#include <vector>

#include "lora/model/checkpoint_source.h"
#include "lora/model/families.h"
#include "runtime/core/error.h"
#include "runtime/io/gguf.h"
#include "tests/fuzz/memory_file.h"

namespace {

template <class Call>
void try_it(Call&& call) {
  try {
    call();
  } catch (const tessera::Error& error) {
    TESSERA_CHECK(std::string_view(error.what()).find('\n') == std::string_view::npos);
  }
}

void read_all(const tessera::io::GgufFile& file) {
  for (const std::string& key : file.keys()) {
    try_it([&] { file.string(key); });
    try_it([&] { file.integer(key); });
    try_it([&] { file.real(key); });
    try_it([&] { file.boolean(key); });
    try_it([&] { file.strings(key); });
    try_it([&] { file.integers(key); });
    try_it([&] { file.booleans(key); });
    try_it([&] { file.count(key); });
  }
  try_it([&] {
    std::vector<std::string> notes;
    tessera::lora::parse_config(tessera::lora::config_of_metadata(file, notes), file.path());
  });
  for (const auto& tensor : file.tensors()) {
    std::vector<std::byte> bytes(tensor.bytes);
    file.read(tensor, bytes);
    const auto block = tessera::io::block_of(tensor.type);
    if (!tessera::io::is_decodable(tensor.type)) continue;
    std::vector<float> values(bytes.size() / block.bytes * block.elements);
    tessera::io::decode(tensor.type, bytes, values);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const tessera::testing::MemoryFile memory(data, size);
  try_it([&] { read_all(tessera::io::GgufFile(memory.path())); });
  return 0;
}
