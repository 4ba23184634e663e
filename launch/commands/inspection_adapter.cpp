// The adapter part of `tessera inspect`: also of adapters that `train` does not take.
#include <charconv>
#include <cmath>
#include <filesystem>
#include <set>

#include "launch/commands/inspection.h"
#include "launch/report/run_files.h"
#include "lora/adapter/peft.h"
#include "runtime/core/error.h"
#include "runtime/io/folder.h"
#include "runtime/io/json.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using nlohmann::ordered_json;

/// A key of reports and what it is called in adapter_config.json.
constexpr std::pair<const char*, const char*> kKeys[] = {
    {"peft_type", "peft_type"},
    {"task_type", "task_type"},
    {"base_model", "base_model_name_or_path"},
    {"r", "r"},
    {"alpha", "lora_alpha"},
    {"rslora", "use_rslora"},
    {"dora", "use_dora"},
    {"dropout", "lora_dropout"},
    {"rank_pattern", "rank_pattern"},
    {"alpha_pattern", "alpha_pattern"},
    {"targets", "target_modules"},
    {"excluded", "exclude_modules"},
    {"only_layers", "layers_to_transform"},
    {"modules_to_save", "modules_to_save"},
    {"trainable_token_indices", "trainable_token_indices"},
};

/// alpha / r, or alpha / sqrt(r); null where they are not given.
ordered_json scale_of(const ordered_json& adapter) {
  const ordered_json& r = adapter["r"];
  const ordered_json& alpha = adapter["alpha"];
  if (!r.is_number() || !alpha.is_number() || r.get<double>() <= 0) return nullptr;
  const double rank = r.get<double>();
  return alpha.get<double>() / (adapter["rslora"] == true ? std::sqrt(rank) : rank);
}

/// "base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight"
struct AdapterTensor {
  std::string module;  // "q_proj"; empty for a tensor that is none of LoRA's first ones
  int64_t layer = -1;
};

AdapterTensor parse(std::string_view name) {
  AdapterTensor tensor;
  std::string_view before;
  while (!name.empty()) {
    const size_t dot = name.find('.');
    const std::string_view part = name.substr(0, dot);
    if (part == "lora_A" || part == "lora_embedding_A") tensor.module = before;
    int64_t number = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), number);
    const bool whole = error == std::errc() && end == part.data() + part.size() && number >= 0;
    if (whole && tensor.layer < 0) tensor.layer = number;
    before = part;
    name = dot == std::string_view::npos ? "" : name.substr(dot + 1);
  }
  return tensor;
}

/// What the names of the tensors tell.
void add_modules(const std::vector<TensorLine>& tensors, ordered_json& adapter) {
  std::set<int64_t> layers;
  std::set<std::string> modules;
  int64_t linears = 0;
  for (const TensorLine& line : tensors) {
    const AdapterTensor tensor = parse(line.name);
    if (tensor.module.empty()) continue;
    ++linears;
    modules.insert(tensor.module);
    if (tensor.layer >= 0) layers.insert(tensor.layer);
  }
  adapter["linears"] = linears;
  adapter["layers"] = layers;
  adapter["modules"] = modules;
}

/// Where the run that wrote it was, if one did.
void add_run(const std::string& folder, ordered_json& adapter) {
  adapter["step"] = adapter["finished"] = nullptr;
  const std::string path = (fs::path(folder) / kStateFile).string();
  if (!io::exists(path)) return;
  const json state = io::read_json_file(path, kMaxConfig);
  if (!state.is_object()) return;
  for (const char* key : {"step", "finished"}) {
    const json value = state.value(key, json());
    if (value.is_number_unsigned() || value.is_boolean()) adapter[key] = ordered_json(value);
  }
}

/// The weights; Error as load_peft(), as far as it needs no model.
void add_weights(const std::string& folder, Inspection& found) {
  lora::peft_weights(folder);
  const std::string fault = add_weight_file(found, folder, std::string(lora::kPeftWeightsFile));
  if (!fault.empty()) fail("{}", fault);
}

}  // namespace

Inspection inspect_adapter(const std::string& folder) {
  Inspection found{.path = folder, .kind = Inspection::Kind::kAdapter, .layout = "peft"};
  const std::string path = (fs::path(folder) / lora::kPeftConfigFile).string();
  const json config = io::read_json_file(path, kMaxConfig);
  if (!config.is_object()) fail("{}: not a JSON object", path);
  found.adapter = ordered_json::object();
  for (const auto& [key, name] : kKeys) {
    found.adapter[key] = ordered_json(config.value(name, json()));
  }
  found.adapter["scale"] = scale_of(found.adapter);
  try {
    add_run(folder, found.adapter);
  } catch (const Error& error) {
    found.notes.emplace_back(error.what());
  }
  try {
    add_weights(folder, found);
  } catch (const Error& error) {
    found.refusal = error.what();
  }
  if (!found.tensors.empty()) found.parameters = elements_of(found.tensors);
  add_modules(found.tensors, found.adapter);
  add_tokenizer(found, folder, io::names_in(folder));
  try {
    const lora::PeftConfig read = lora::read_peft_config(folder);
    found.unknown_keys = read.unknown;
    found.unneeded_keys = read.unneeded;
  } catch (const Error& error) {
    found.refusal = error.what();  // comes first in load_peft(), too
  }
  return found;
}

}  // namespace tessera::launch
