// Strict JSON for files that strangers wrote: bounded depth and size, no duplicate keys, no bytes
// after the value, valid UTF-8. Every error names the source and the position.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

namespace tessera::io {

struct JsonLimits {
  int max_depth = 64;
  size_t max_values = 8'000'000;
};

/// Parses one JSON value. `source` names the file (or file:line) in errors. Throws Error.
nlohmann::json parse_json(std::string_view text, std::string_view source, JsonLimits limits = {});

/// Reads and parses a whole file of at most `max_bytes`.
nlohmann::json read_json_file(const std::string& path, size_t max_bytes, JsonLimits limits = {});

}  // namespace tessera::io
