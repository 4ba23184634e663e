// Any bytes give an Error, or tensors that can be read.
#include <vector>

#include "runtime/core/error.h"
#include "runtime/io/safetensors.h"
#include "tests/fuzz/memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const tessera::testing::MemoryFile memory(data, size);
  try {
    const tessera::io::SafetensorsFile file(memory.path());
    uint64_t total = 0;
    for (const auto& entry : file.entries()) {
      total += entry.bytes;
      std::vector<std::byte> bytes(entry.bytes);
      file.read(entry, bytes);
      TESSERA_CHECK(file.find(entry.name) == &entry);
    }
    TESSERA_CHECK(total < size);  // what is accepted does not overlap
  } catch (const tessera::Error& error) {
    TESSERA_CHECK(std::string_view(error.what()).find('\n') == std::string_view::npos);
  }
  return 0;
}
