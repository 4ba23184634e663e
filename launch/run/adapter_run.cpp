#include "launch/run/adapter_run.h"

#include <algorithm>
#include <filesystem>

#include "launch/config/flags_types.h"
#include "launch/config/settings.h"
#include "launch/machine/device.h"
#include "launch/report/run_files.h"
#include "launch/run/checkpoint.h"
#include "runtime/core/error.h"
#include "runtime/io/file.h"
#include "runtime/io/folder.h"
#include "runtime/io/json.h"
#include "runtime/ops/matmul.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::string_view kFourBit = "load_in_4bit=";

/// state.json of `folder`; null where there is none.
json read_state(const fs::path& folder) {
  const fs::path path = folder / kStateFile;
  if (!io::exists(path)) return nullptr;
  json state = io::read_json_file(path.string(), kMaxStateBytes);
  if (!state.is_object()) fail("{} is not the state of a run", path.string());
  return state;
}

bool is_finished(const fs::path& adapter) {
  const json state = read_state(adapter);
  if (state.is_null()) return true;
  if (state.contains("finished")) return state["finished"] == true;
  // A checkpoint: the run's end, if the run ended at this step.
  const json run = read_state(adapter.parent_path());
  return run.is_object() && run.value("finished", json()) == true &&
         run.value("step", json()) == state.value("step", json());
}

/// The config that these settings alone make.
Config config_of(std::vector<std::string> settings, bool four_bit) {
  settings.push_back(four_bit ? "adapter=qlora" : "adapter=lora");
  Faults faults;
  return checked_config(read_settings("", "command line", settings, faults), "command line", {},
                        faults);
}

constexpr std::string_view kComputeDtype = "bnb_4bit_compute_dtype";

/// Whether a key says how conversations become text, which an adapter has learned.
bool is_of_text(std::string_view key) { return key.starts_with("chat_template"); }

/// What `file` says of the base and of conversations. A compute type that this machine lacks
/// becomes auto, unless `settings` ask for it.
Config base_of_run(const std::string& file, const std::vector<std::string>& settings) {
  Faults faults;
  Settings read =
      read_settings(io::read_file(file, YamlLimits{}.max_bytes), file, settings, faults);
  std::erase_if(
      read, [](const auto& entry) { return !is_of_base(entry.first) && !is_of_text(entry.first); });
  Config config = checked_config(read, file, {}, faults);
  const auto asked = read.find(kComputeDtype);
  const bool own = asked == read.end() || !asked->second.on_command_line();
  if (own && config.bnb_4bit_compute_dtype == DType::kBF16 && !has_bf16_products(Device::cpu()) &&
      find_gpus().usable.empty()) {
    config.bnb_4bit_compute_dtype.reset();
  }
  return config;
}

}  // namespace

bool is_of_base(std::string_view key) {
  return key == "adapter" || key == "load_in_4bit" || key.starts_with("bnb_4bit_");
}

AdapterRun AdapterRun::of(const std::string& adapter, const std::vector<std::string>& settings) {
  // "run/" and "run/." are the folder run, whose parent is not itself.
  const fs::path folder = io::absolute(adapter);
  if (!io::is_folder(folder)) fail("there is no adapter folder {}", adapter);
  AdapterRun run;
  run.finished = is_finished(folder);
  for (const fs::path& place : {folder, folder.parent_path()}) {
    const fs::path file = place / kResolvedConfigFile;
    if (!io::exists(file)) continue;
    // A folder beside a run's files is part of the run only if it is one of its checkpoints.
    if (place != folder && !folder.filename().string().starts_with(kCheckpointPrefix)) continue;
    run.base = base_of_run(file.string(), settings);
    break;
  }
  return run;
}

std::string other_base_warning(const AdapterRun& run, const std::string& base_model,
                               const lora::BaseFormat& stored) {
  const bool sixteen_bit = run.base && run.base->adapter == AdapterKind::kLora;
  if (!sixteen_bit || stored.linear.format->dtype) return "";
  return fmt::format("warning: the adapter was trained on a 16-bit base; {} is stored as {}",
                     base_model, quant::describe(stored.linear));
}

Config base_config(const std::optional<std::string>& adapter,
                   const std::vector<std::string>& settings) {
  const auto given = std::find_if(settings.begin(), settings.end(),
                                  [](const auto& s) { return s.starts_with(kFourBit); });
  if (given != settings.end()) {
    return config_of(settings, parse_bool(given->substr(kFourBit.size())).value_or(true));
  }
  if (adapter) {
    if (AdapterRun run = AdapterRun::of(*adapter, settings); run.base) return *run.base;
  }
  for (const std::string& setting : settings) {
    const std::string key = setting.substr(0, setting.find('='));
    if (key != kComputeDtype) fail_usage("--{} needs --load_in_4bit true", key);
  }
  return config_of(settings, false);
}

}  // namespace tessera::launch
