#include "launch/config.h"

#include "launch/config_settings.h"
#include "launch/flags.h"
#include "runtime/core/error.h"
#include "runtime/io/file.h"

namespace tessera::launch {

namespace {

/// A config that cannot be read is wrong use, whatever the system calls it.
std::string read_text(const std::string& path) {
  try {
    return io::read_file(path, YamlLimits{}.max_bytes);
  } catch (const Error& error) {
    throw Error(error.what(), Fault::kUsage);
  }
}

}  // namespace

Config load_config(const std::string& path, std::span<const std::string> overrides) {
  const Settings settings = read_settings(read_text(path), path, overrides);
  const Config config = resolve(settings, path);
  check_rules(config, settings);
  check_supported(config, settings);
  return config;
}

void validate_for_train(const Config& config) {
  const auto require = [&](bool given, std::string_view key, std::string_view example) {
    if (!given) fail_usage("{}: {} is missing; add e.g. {}", config.source, key, example);
  };
  require(!config.base_model.empty(), "base_model", "base_model: models/llama-3.2-1b");
  require(!config.datasets.empty(), "datasets", "datasets: [{path: data.jsonl, type: alpaca}]");
  require(!config.output_dir.empty(), "output_dir", "output_dir: runs/first");
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
