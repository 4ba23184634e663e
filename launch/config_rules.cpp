// Settings that contradict each other, and settings that this version does not support.
#include "launch/config_settings.h"
#include "launch/flags.h"
#include "runtime/core/error.h"

namespace tessera::launch {

namespace {

const Given* find(const Settings& settings, std::string_view name) {
  const auto found = settings.find(name);
  return found == settings.end() ? nullptr : &found->second;
}

/// "KEY: VALUE (PLACE)", or with "(the default)".
std::string described(const Config& config, const Settings& settings, std::string_view name) {
  const Given* given = find(settings, name);
  return fmt::format("{}: {} ({})", given != nullptr ? std::string_view(given->spelling) : name,
                     find_flag(name)->write(config),
                     given != nullptr ? given->place.text() : "the default");
}

/// Throws for the key `name`, which must be given, against the key `other`.
[[noreturn]] void contradict(const Config& config, const Settings& settings, std::string_view name,
                             std::string_view other, std::string_view cure) {
  const Given& given = settings.at(name);
  const Given* against = find(settings, other);
  std::string hint;
  if (against != nullptr && given.on_command_line != against->on_command_line) {
    hint = fmt::format(" ({}=null on the command line leaves out what the file says)",
                       given.on_command_line ? other : name);
  }
  fail_usage("{}: {} contradicts {}: {}{}", given.place.text(), given.spelling,
             described(config, settings, other), cure, hint);
}

void check_adapter(const Config& config, const Settings& settings) {
  const bool four_bit = config.adapter == AdapterKind::kQlora;
  if (config.load_in_4bit != four_bit) {
    contradict(config, settings, "load_in_4bit", "adapter",
               four_bit ? "qlora is the 4-bit run; use adapter: lora for the 16-bit one"
                        : "lora is the 16-bit run; use adapter: qlora for the 4-bit one");
  }
  if (!config.lora_target_linear && config.lora_target_modules.empty()) {
    fail_usage(
        "{}: {}: false leaves nothing to adapt; set it to true or name layers in "
        "lora_target_modules",
        settings.at("lora_target_linear").place.text(), settings.at("lora_target_linear").spelling);
  }
}

void check_batch(const Config& config, const Settings& settings) {
  const int64_t rows = config.micro_batch_size.value_or(1);
  if (config.global_batch_size && *config.global_batch_size % rows != 0) {
    contradict(config, settings, "global_batch_size", "micro_batch_size",
               fmt::format("{} rows are not a whole number of micro-batches of {}",
                           *config.global_batch_size, rows));
  }
}

}  // namespace

void check_rules(const Config& config, const Settings& settings) {
  check_adapter(config, settings);
  for (const auto& [name, given] : settings) {
    if (const RuledOut* rule = find_flag(name)->rule(config)) {
      contradict(config, settings, name, rule->by, rule->cure);
    }
  }
  check_batch(config, settings);
  if (config.overwrite_output_dir && config.resume_from_checkpoint) {
    contradict(config, settings, "overwrite_output_dir", "resume_from_checkpoint",
               "one starts afresh, the other goes on; keep one");
  }
}

void check_supported(const Config& config, const Settings& settings) {
  std::string all;
  for (const FlagGroup& group : flag_groups()) {
    for (const Flag& flag : group.flags) {
      const std::string_view lacking = flag.lacking(config);
      if (lacking.empty()) continue;
      const Given& given = settings.at(flag.name);
      if (!all.empty()) all += "; ";
      all += fmt::format("{}: {}: {} {}", given.place.text(), given.spelling, flag.write(config),
                         lacking);
    }
  }
  if (!all.empty()) fail_usage("{}; leave out what this version does not do", all);
}

}  // namespace tessera::launch
