// Settings that contradict each other, that this version does not support, or that are missing.
#include "launch/config/cadence.h"
#include "launch/config/flags.h"
#include "launch/config/scheduler_keys.h"
#include "launch/config/settings.h"

namespace tessera::launch {

namespace {

/// The value given for the key `name`; empty where there is none, or a wrong one.
std::string said(const Settings& settings, std::string_view name) {
  const Given* given = find(settings, name);
  if (given == nullptr) return {};
  Faults told;  // by the first reading
  return find_flag(name)->said({given->spelling, given->value, told});
}

/// "KEY: VALUE (PLACE)", or with "(the default)".
std::string described(const Config& config, const Settings& settings, std::string_view name) {
  const Given* given = find(settings, name);
  if (given == nullptr) {
    return fmt::format("{}: {} (the default)", name, find_flag(name)->write(config));
  }
  return fmt::format("{}: {} ({})", given->spelling, said(settings, name), given->place.text());
}

/// Tells that the key `name`, which must be given, goes against the key `other`, unless one of them
/// is in doubt.
void contradict(const Config& config, const Settings& settings, std::string_view name,
                std::string_view other, std::string_view cure, Faults& faults) {
  if (faults.doubts(name) || faults.doubts(other)) return;
  const Given& given = settings.at(name);
  const Given* against = find(settings, other);
  std::string hint;
  if (against != nullptr && given.on_command_line() != against->on_command_line()) {
    hint = fmt::format(" ({}=null on the command line leaves out what the file says)",
                       given.on_command_line() ? other : name);
  }
  faults.add(given.place, "{} contradicts {}: {}{}", given.spelling,
             described(config, settings, other), cure, hint);
}

void check_adapter(const Config& config, const Settings& settings, Faults& faults) {
  const auto denied = [&](std::string_view name) {
    const std::string value = said(settings, name);
    return !value.empty() && value != find_flag(name)->write(config);
  };
  if (denied("load_in_4bit")) {
    contradict(config, settings, "load_in_4bit", "adapter",
               config.adapter == AdapterKind::kQlora
                   ? "qlora is the 4-bit run; use adapter: lora for the 16-bit one"
                   : "lora is the 16-bit run; use adapter: qlora for the 4-bit one",
               faults);
  }
  if (!denied("lora_target_linear")) return;
  if (!config.lora_target_modules.empty()) {
    contradict(config, settings, "lora_target_modules", "lora_target_linear",
               "one adapts every linear layer, the other only those it names; keep one", faults);
  } else if (!faults.doubts("lora_target_linear") && !faults.doubts("lora_target_modules")) {
    const Given& given = settings.at("lora_target_linear");
    faults.add(given.place,
               "{}: false leaves nothing to adapt; set it to true or name layers in "
               "lora_target_modules",
               given.spelling);
  }
}

/// Not a fault, as axolotl takes it and its own examples have it.
void note_missing_rows(const Config& config, const Settings& settings, Faults& faults) {
  const Given* given = find(settings, "evals_per_epoch");
  if (given == nullptr || config.evals_per_epoch.value_or(0) == 0) return;
  if (!evaluates_nothing(config)) return;
  faults.note(given->place, "{}: not used here: {}", given->spelling, kNoRows);
}

void check_batch(const Config& config, const Settings& settings, Faults& faults) {
  const int64_t rows = config.micro_batch_size.value_or(1);
  if (config.global_batch_size && *config.global_batch_size % rows != 0) {
    contradict(config, settings, "global_batch_size", "micro_batch_size",
               fmt::format("{} rows are not a whole number of micro-batches of {}",
                           *config.global_batch_size, rows),
               faults);
  }
}

}  // namespace

void check_rules(const Config& config, const Settings& settings, Faults& faults) {
  check_adapter(config, settings, faults);
  for (const auto& [name, given] : settings) {
    if (const RuledOut* rule = find_flag(name)->rule(config)) {
      contradict(config, settings, name, rule->by, rule->cure, faults);
    }
  }
  note_missing_rows(config, settings, faults);
  check_batch(config, settings, faults);
  check_scheduler(config, settings, faults);
  if (config.overwrite_output_dir && config.resume_from_checkpoint) {
    contradict(config, settings, "overwrite_output_dir", "resume_from_checkpoint",
               "one starts afresh, the other goes on; keep one", faults);
  }
}

void check_supported(const Config& config, const Settings& settings, Faults& faults) {
  for (const FlagGroup& group : flag_groups()) {
    for (const Flag& flag : group.flags) {
      const std::string_view lacking = flag.lacking(config);
      if (lacking.empty()) continue;
      const Given& given = settings.at(flag.name);
      faults.add(given.place, "{}: {} {}; leave out what this version does not do", given.spelling,
                 flag.write(config), lacking);
    }
  }
}

void check_needed(const Config& config, Keys needed, Faults& faults) {
  const Place file{std::make_shared<const std::string>(config.source)};
  for (const std::string_view key : needed) {
    const Flag& flag = *find_flag(key);
    if (faults.doubts(key) || flag.write(config) != "null") continue;
    faults.add(file, "{0} is missing; add e.g. {0}: {1}", key, flag.example);
  }
}

Config check_config(const Settings& settings, const std::string& source, Keys needed,
                    Faults& faults) {
  Config config = resolve(settings, source, faults);
  check_rules(config, settings, faults);
  check_supported(config, settings, faults);
  check_needed(config, needed, faults);
  config.notes = faults.notes();
  return config;
}

Config checked_config(const Settings& settings, const std::string& source, Keys needed,
                      Faults& faults) {
  Config config = check_config(settings, source, needed, faults);
  faults.raise();
  return config;
}

}  // namespace tessera::launch
