// Any text gives an Error, or a value that is the same after it is written and read again.
#include "runtime/core/error.h"
#include "runtime/io/json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const nlohmann::json value = tessera::io::parse_json(text, "fuzz");
    TESSERA_CHECK(tessera::io::parse_json(value.dump(), "again") == value);
  } catch (const tessera::Error& error) {
    TESSERA_CHECK(std::string_view(error.what()).find('\n') == std::string_view::npos);
  }
  return 0;
}
