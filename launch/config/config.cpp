#include "launch/config/config.h"

#include "launch/config/flags.h"
#include "launch/config/settings.h"
#include "runtime/core/error.h"
#include "runtime/io/file.h"

namespace tessera::launch {

std::string read_config_text(const std::string& path) {
  try {
    return io::read_file(path, YamlLimits{}.max_bytes);
  } catch (const Error& error) {
    throw Error(error.what(), Fault::kUsage);
  }
}

Config load_config(const std::string& path, std::span<const std::string> overrides) {
  return load_config(path, overrides, {});
}

Config load_config(const std::string& path, std::span<const std::string> overrides, Keys needed) {
  Faults faults;
  const Settings settings = read_config(path, overrides, needed, faults);
  return checked_config(settings, path, needed, faults);
}

Settings read_config(const std::string& path, std::span<const std::string> overrides, Keys needed,
                     Faults& faults) {
  Settings settings = read_settings(read_config_text(path), path, overrides, faults);
  if (settings.empty() && !needed.empty() && faults.empty()) {
    fail_usage("{}: nothing is set in it; expected 'key: value' lines with {}", path,
               fmt::join(needed, ", "));
  }
  return settings;
}

void require_keys(const Config& config, Keys needed) {
  Faults faults;
  check_needed(config, needed, faults);
  faults.raise();
}

std::string dump_config(const Config& config) {
  std::string out;
  for (const FlagGroup& group : flag_groups()) {
    out += fmt::format("{}# {}\n", out.empty() ? "" : "\n", group.title);
    for (const Flag& flag : group.flags) {
      const std::string value = flag.rule(config) != nullptr ? "null" : flag.write(config);
      out += fmt::format("{}:{}{}\n", flag.name, value.starts_with('\n') ? "" : " ", value);
    }
  }
  return out;
}

}  // namespace tessera::launch
