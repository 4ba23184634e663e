// The steps of load_config, for it and for tests: settings as written, then their values, then the
// rules between them, then what this version and the command lack. Each step tells what is wrong
// and goes on with the rest; what a doubted key decides is left alone.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>

#include "launch/config/config.h"
#include "launch/config/faults.h"
#include "launch/config/yaml.h"

namespace tessera::launch {

struct Flag;

/// One key as the user wrote it.
struct Given {
  std::string spelling;  // the name or an alias
  Place place;
  YamlNode value;
  bool on_command_line() const { return place.argument > 0; }
};

/// By name in the flag table; keys left out or set to null are absent. What keys of other trainers
/// mean is there under the name of ours, with their spelling and place.
using Settings = std::map<std::string_view, Given>;

/// The text of a config, at most 1 MiB. Error (usage) where it cannot be read, whatever the system
/// calls it.
std::string read_config_text(const std::string& path);

/// Null where the key is left out.
const Given* find(const Settings& settings, std::string_view name);

/// The settings in `text`, a whole file named `source`, and the `overrides` that replace or extend
/// them. What became of keys of other trainers is noted in `faults`. Throws Error (usage) where
/// `text` is not YAML.
Settings read_settings(std::string_view text, const std::string& source,
                       std::span<const std::string> overrides, Faults& faults);

/// The settings of the file at `path`, as read_settings(). Throws Error (usage) where it cannot be
/// read, and where nothing is set in it though keys are `needed`.
Settings read_config(const std::string& path, std::span<const std::string> overrides, Keys needed,
                     Faults& faults);

/// Whether a list stands where the key takes one value, or a list of lists where it takes a list:
/// several values for `tessera search`.
bool has_list_of_values(const Flag& flag, const Given& given);

/// Values and what follows from them; keys with a wrong value keep their default and are doubted.
Config resolve(const Settings& settings, const std::string& source, Faults& faults);

/// Contradictions, each with both keys.
void check_rules(const Config& config, const Settings& settings, Faults& faults);

/// Settings that this version does not support.
void check_supported(const Config& config, const Settings& settings, Faults& faults);

/// Keys among `needed` that are left out.
void check_needed(const Config& config, Keys needed, Faults& faults);

/// All steps after the first. What it gives is of use where there are no faults.
Config check_config(const Settings& settings, const std::string& source, Keys needed,
                    Faults& faults);
/// The same. Throws Error (usage) of all faults.
Config checked_config(const Settings& settings, const std::string& source, Keys needed,
                      Faults& faults);

}  // namespace tessera::launch
