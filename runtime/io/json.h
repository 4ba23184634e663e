// Strict JSON for files that strangers wrote: bounded depth and size, no duplicate keys, no bytes
// after the value, no byte order mark, valid UTF-8. Every error names the source and the position.
// An integer beyond 64 bits becomes a double: who wants an integer has to ask for its type.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace tessera::io {

struct JsonLimits {
  int max_depth = 64;
  size_t max_values = 8'000'000;
};

/// Parses one JSON value. `source` names the file (or file:line) in errors. Throws Error.
nlohmann::json parse_json(std::string_view text, std::string_view source, JsonLimits limits = {});

/// The same with the keys of every object in the order of the text.
nlohmann::ordered_json parse_ordered_json(std::string_view text, std::string_view source,
                                          JsonLimits limits = {});

/// Reads and parses a whole file of at most `max_bytes`.
nlohmann::json read_json_file(const std::string& path, size_t max_bytes, JsonLimits limits = {});

/// JSON text without escapes of letters; U+FFFD stands for bytes that are not UTF-8. On one line,
/// or with `indent` spaces a level.
std::string json_text(const nlohmann::json& value, int indent = -1);
std::string json_text(const nlohmann::ordered_json& value, int indent = -1);

/// Null for the empty text.
nlohmann::ordered_json text_or_null(const std::string& text);

/// What the text consists of, one event after another, for a reader that must not build a tree.
/// A derived class has to bound the depth itself.
class JsonEvents : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit JsonEvents(std::string_view source) : source_(source) {}
  bool binary(binary_t&) override { return false; }
  bool parse_error(size_t position, const std::string& token,
                   const nlohmann::json::exception& error) override;

 protected:
  std::string_view source() const { return source_; }

 private:
  std::string_view source_;
};

/// Feeds the events of one JSON value to `events`, whose source stands in errors.
void parse_json(std::string_view text, std::string_view source, JsonEvents& events);

}  // namespace tessera::io
