// YAML as a config needs it: a tree of maps, lists and scalars that knows its lines.
// Built from the parser's events under limits, so that no input is expanded: anchors, aliases,
// merge keys, tags, duplicate keys and further documents are faults that name the line.
#pragma once

#include <fmt/format.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "launch/config/faults.h"

namespace tessera::launch {

struct YamlLimits {
  size_t max_bytes = size_t{1} << 20;
  size_t max_depth = 32;
  size_t max_nodes = 20'000;
  /// Brackets and commas: flow collections cost the parser time and memory before they are seen.
  size_t max_flow_marks = 10'000;
};

struct YamlEntry;

struct YamlNode {
  /// kFaulty: what is wrong with it has been told already.
  enum class Kind { kNull, kScalar, kList, kMap, kFaulty };
  Kind kind = Kind::kNull;
  bool quoted = false;  // of a scalar: never a number or a boolean by itself
  std::string text;     // of a scalar
  std::vector<YamlNode> items;
  std::vector<YamlEntry> entries;  // in the order of the file; keys are unique
  Place place;
};

struct YamlEntry {
  std::string key;
  Place place;
  YamlNode value;
  bool repeated = false;  // another value was given for the key, and that fault was told
};

/// Parses one document; an empty text is a null. `start` is the place of its first line, or, with
/// line 0, of all of it. Nothing after a fault that leaves the rest without meaning.
std::optional<YamlNode> parse_yaml(std::string_view text, const Place& start, Faults& faults);

/// `text` as a YAML scalar that reads back as the same text: plain where it can be.
std::string yaml_text(std::string_view text);

/// A map on one line, whose values `write` turns into YAML; "null" for an empty one.
template <class Map, class Write>
std::string yaml_map(const Map& map, const Write& write) {
  std::string out;
  for (const auto& [key, value] : map) {
    out += fmt::format("{}{}: {}", out.empty() ? "" : ", ", yaml_text(key), write(value));
  }
  return out.empty() ? "null" : "{" + out + "}";
}

/// `text` for a message: one line, about 60 bytes at most, control characters escaped.
std::string one_line(std::string_view text);
/// The same in quotes.
std::string shown(std::string_view text);

}  // namespace tessera::launch
