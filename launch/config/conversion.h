// A config of another trainer as one of ours, with what became of each of its keys.
#pragma once

#include <string>
#include <vector>

namespace tessera::launch {

struct Conversion {
  /// A YAML file: the keys that were given, by our names, each with where it came from; then, as
  /// comments, the lines about keys that are not needed, and `lost`.
  std::string text;
  /// What could not be carried over, a line each. Empty: `text` loads, and runs as the original.
  std::vector<std::string> lost;
};

/// Converts `text`, the whole file `source`. Error (usage) where it is not YAML.
Conversion convert_config(const std::string& text, const std::string& source);

}  // namespace tessera::launch
