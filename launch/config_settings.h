// The steps of load_config, for it and for tests: settings as written, then their values, then the
// rules between them, then what this version lacks.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>

#include "launch/config.h"
#include "launch/yaml.h"

namespace tessera::launch {

/// One key as the user wrote it.
struct Given {
  std::string spelling;  // the name or an alias
  Place place;
  YamlNode value;
  bool on_command_line = false;
};

/// By name in the flag table; keys left out or set to null are absent.
using Settings = std::map<std::string_view, Given>;

/// The settings in `text`, a whole file named `source`, and the `overrides` that replace or extend
/// them. Throws Error (usage) for all that load_config names up to duplicate spellings.
Settings read_settings(std::string_view text, const std::string& source,
                       std::span<const std::string> overrides);

/// Values and what follows from them. Throws Error (usage) for wrong types and ranges.
Config resolve(const Settings& settings, const std::string& source);

/// Throws Error (usage) naming both keys of a contradiction.
void check_rules(const Config& config, const Settings& settings);

/// Throws Error (usage) naming every setting that this version does not support.
void check_supported(const Config& config, const Settings& settings);

}  // namespace tessera::launch
