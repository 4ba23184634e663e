#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iterator>
#include <set>

#include "lora/adapter/peft.h"
#include "runtime/core/error.h"
#include "runtime/io/file.h"
#include "runtime/io/folder.h"
#include "runtime/io/json.h"
#include "runtime/io/printable.h"

namespace tessera::lora {

namespace {

using nlohmann::json;

/// null, false, "", [] and {}: how PEFT writes what is not in use.
bool is_off(const json& value) {
  if (value.is_null()) return true;
  if (value.is_boolean()) return !value.get<bool>();
  if (value.is_string()) return value.get_ref<const std::string&>().empty();
  return (value.is_array() || value.is_object()) && value.empty();
}

std::string shown(const json& value) { return io::printable(io::json_text(value)); }

/// Keys that change what the adapter's tensors are or mean; they must be off.
constexpr std::string_view kMustBeOff[] = {
    "alora_invocation_tokens", "arrow_config", "fan_in_fan_out",  "kasa_config",
    "layer_replication",       "lora_bias",    "megatron_config", "monteclora_config",
    "target_parameters",       "use_bdlora",   "use_dora",        "use_qalora"};

/// Keys that say where the adapter comes from or how PEFT is to run it.
constexpr std::string_view kOfNoConcern[] = {"auto_mapping", "inference_mode", "peft_version",
                                             "revision", "runtime_config"};

/// Keys that shaped how the adapter was made, or only matter together with one that must be off,
/// and the value that PEFT writes where nobody asked for another.
struct Unneeded {
  std::string_view key;
  json usual = nullptr;
};
const std::vector<Unneeded>& unneeded_keys() {
  static const std::vector<Unneeded> keys = {{"corda_config"},
                                             {"eva_config"},
                                             {"loftq_config"},
                                             {"lora_ga_config"},
                                             {"megatron_core", "megatron.core"},
                                             {"qalora_group_size", 16},
                                             {"velora_config"}};
  return keys;
}

class Reader {
 public:
  explicit Reader(std::string path)
      : path_(std::move(path)),
        text_(io::read_file(path_, size_t{1} << 20)),
        root_(io::parse_json(text_, path_)) {
    if (!root_.is_object()) fail("{}: not a JSON object", path_);
  }

  PeftConfig read() {
    require_string("peft_type", "LORA", "only LoRA adapters can be trained further", true);
    require_string("task_type", "CAUSAL_LM", "only causal language models are supported", false);
    require_string("bias", "none", "biases are not trained; train the adapter with bias none",
                   false);
    for (std::string_view key : kMustBeOff) {
      const json* value = find(key);
      if (value && !is_off(*value)) {
        fail("{}: {} is {}, which is not supported", path_, key, shown(*value));
      }
    }
    check_initialisation();

    PeftConfig config;
    config.options.r = integer("r");
    config.options.alpha = number("lora_alpha");
    if (find("lora_dropout")) config.options.dropout = number("lora_dropout");
    config.options.rslora = boolean("use_rslora");
    config.options.targets = targets();
    config.options.targets.whole = names("modules_to_save", "a list of module names");
    config.options.targets.whole_said_in = path_ + ": modules_to_save";
    config.options.targets.ensure_tying = boolean("ensure_weight_tying");
    config.options.tokens = tokens();
    for (const auto& [key, value] : pattern("rank_pattern")) {
      config.options.ranks.by_key.emplace_back(key, whole_number("rank_pattern", value));
    }
    for (const auto& [key, value] : pattern("alpha_pattern")) {
      if (!value.is_number()) ill_typed("alpha_pattern", "a map from modules to numbers");
      config.options.alphas.by_key.emplace_back(key, value.get<double>());
    }
    try {
      check_adapter_options(config.options);
    } catch (const Error& e) {
      fail("{}: {}", path_, e.what());
    }
    const json* base = find("base_model_name_or_path");
    if (base && !base->is_null()) {
      if (!base->is_string()) ill_typed("base_model_name_or_path", "a string");
      config.base_model = base->get<std::string>();
    }
    for (const Unneeded& unneeded : unneeded_keys()) {
      const json* value = find(unneeded.key);
      if (value && !is_off(*value) && *value != unneeded.usual) {
        config.unneeded.emplace_back(unneeded.key);
      }
    }
    for (const auto& [key, value] : root_.items()) {
      if (!known_.contains(key) && !is_off(value)) config.unknown.push_back(io::printable(key));
    }
    return config;
  }

 private:
  const json* find(std::string_view key) {
    known_.insert(std::string(key));
    const auto it = root_.find(std::string(key));
    return it == root_.end() ? nullptr : &*it;
  }
  const json& required(std::string_view key) {
    const json* value = find(key);
    if (!value) fail("{}: {} is missing", path_, key);
    return *value;
  }
  [[noreturn]] void ill_typed(std::string_view key, std::string_view expected) {
    fail("{}: {} must be {}, not {}", path_, key, expected, shown(required(key)));
  }

  int64_t integer(std::string_view key) { return whole_number(key, required(key)); }
  /// Of a key's value, or inside it.
  int64_t whole_number(std::string_view key, const json& value) {
    if (!value.is_number_integer() || value < 0 || value > INT64_MAX)
      ill_typed(key,
                &value == find(key) ? "a whole number" : "a map from modules to whole numbers");
    return value.get<int64_t>();
  }
  bool boolean(std::string_view key) {
    const json* value = find(key);
    if (!value || value->is_null()) return false;
    if (!value->is_boolean()) ill_typed(key, "true or false");
    return value->get<bool>();
  }
  std::vector<std::string> names(std::string_view key, std::string_view expected) {
    const json* value = find(key);
    std::vector<std::string> names;
    if (!value || is_off(*value)) return names;
    if (!value->is_array()) ill_typed(key, expected);
    for (const json& item : *value) {
      if (!item.is_string()) ill_typed(key, expected);
      names.push_back(item.get<std::string>());
    }
    return names;
  }
  /// The entries of a map in the order of the file, in which PEFT tries them.
  std::vector<std::pair<std::string, json>> pattern(std::string_view key) {
    const json* value = find(key);
    if (!value || is_off(*value)) return {};
    if (!value->is_object()) ill_typed(key, "a map from modules to numbers");
    std::vector<std::pair<std::string, json>> entries;
    const auto in_order = nlohmann::ordered_json::parse(text_);
    for (const auto& [module, unused] : in_order.at(std::string(key)).items()) {
      check_pattern(key, module);
      entries.emplace_back(module, value->at(module));
    }
    return entries;
  }
  void check_pattern(std::string_view key, const std::string& pattern) const {
    const std::string fault = pattern_fault(pattern);
    if (fault.empty()) return;
    fail("{}: {}: the regular expression {}: {}", path_, key, shown(pattern), fault);
  }
  double number(std::string_view key) {
    const json& value = required(key);
    if (!value.is_number()) ill_typed(key, "a number");
    return value.get<double>();
  }
  void require_string(std::string_view key, std::string_view wanted, std::string_view why,
                      bool must_exist) {
    const json* value = must_exist ? &required(key) : find(key);
    if (!value || (!must_exist && value->is_null())) return;
    if (!value->is_string() || value->get_ref<const std::string&>() != wanted) {
      fail("{}: {} is {}, expected \"{}\": {}", path_, key, shown(*value), wanted, why);
    }
  }

  /// Initialisations that also change the base's weights make an adapter that does not fit the base
  /// as it is; PEFT's own conversion on saving turns these into a plain one.
  void check_initialisation() {
    const json* value = find("init_lora_weights");
    if (!value || value->is_null() || value->is_boolean()) return;
    for (const char* harmless : {"gaussian", "eva", "mica", "orthogonal"}) {
      if (*value == harmless) return;
    }
    fail(
        "{}: init_lora_weights is {}, which changes the base's weights too; save the adapter with "
        "PEFT's path_initial_model_for_weight_conversion",
        path_, shown(*value));
  }

  TargetModules targets() {
    TargetModules targets;
    targets.said_in = path_ + ": target_modules";
    const json& wanted = required("target_modules");
    if (wanted.is_string() && is_all_linear(wanted.get_ref<const std::string&>())) {
      targets.modules = {};
    } else if (is_off(wanted)) {
      ill_typed("target_modules", kModules);
    } else {
      targets.modules = modules("target_modules", wanted);
    }
    if (const json* value = find("exclude_modules"); value && !is_off(*value)) {
      targets.excluded = modules("exclude_modules", *value);
    }
    const json* layers = find("layers_to_transform");
    const json* pattern = find("layers_pattern");
    if (!layers || is_off(*layers)) {
      if (pattern && !is_off(*pattern)) fail("{}: layers_pattern needs layers_to_transform", path_);
      return targets;
    }
    if (!wanted.is_array()) {
      fail("{}: layers_to_transform needs a list of names in target_modules, not {}", path_,
           shown(wanted));
    }
    for (const json& layer : layers->is_array() ? *layers : json::array({*layers})) {
      if (!layer.is_number_unsigned() || layer > INT64_MAX) {
        ill_typed("layers_to_transform", "a layer's number, or a list of them");
      }
      targets.layers.push_back(layer.get<int64_t>());
    }
    if (pattern && !is_off(*pattern)) check_layers_pattern(*pattern);
    return targets;
  }

  /// A list, or a map from the embedding's name to one.
  TrainedTokens tokens() {
    constexpr std::string_view kKey = "trainable_token_indices";
    constexpr std::string_view kExpected = "a list of token ids, or a map from embed_tokens to one";
    TrainedTokens tokens{.said_in = fmt::format("{}: {}", path_, kKey)};
    const json* value = find(kKey);
    if (!value || is_off(*value)) return tokens;
    if (value->is_object()) {
      for (const auto& [module, unused] : value->items()) {
        if (module == "embed_tokens" || module.ends_with(".embed_tokens")) continue;
        fail("{}: {} names {}; only rows of embed_tokens can be trained", path_, kKey,
             shown(module));
      }
      if (value->size() > 1) ill_typed(kKey, kExpected);
      value = &value->front();
    }
    if (!value->is_array()) ill_typed(kKey, kExpected);
    for (const json& id : *value) {
      if (!id.is_number_integer() || id < 0 || id > INT64_MAX) ill_typed(kKey, kExpected);
      tokens.ids.push_back(id.get<int64_t>());
    }
    return tokens;
  }

  static constexpr std::string_view kModules =
      "a list of module names, a regular expression or \"all-linear\"";

  ModuleList modules(std::string_view key, const json& value) {
    ModuleList list;
    if (value.is_string()) {
      list.pattern = value.get<std::string>();
      check_pattern(key, list.pattern);
      return list;
    }
    list.names = names(key, kModules);
    return list;
  }

  /// The list of the layers has one name in the models that there are.
  void check_layers_pattern(const json& value) {
    const json patterns = value.is_array() ? value : json::array({value});
    if (std::ranges::find(patterns, "layers") == patterns.end()) {
      ill_typed("layers_pattern", "\"layers\", which the model's list of layers is called");
    }
  }

  std::string path_, text_;
  json root_;
  std::set<std::string> known_{std::begin(kOfNoConcern), std::end(kOfNoConcern)};
};

/// PEFT writes a whole alpha without a point.
json alpha_of(double alpha) {
  if (alpha == std::floor(alpha) && alpha < 0x1p53) return int64_t(alpha);
  return alpha;
}

}  // namespace

PeftConfig read_peft_config(const std::string& folder) {
  const std::string path = (std::filesystem::path(folder) / kPeftConfigFile).string();
  if (!io::exists(path)) {
    fail("{}: no {} in it; not a folder with a LoRA adapter", folder, kPeftConfigFile);
  }
  return Reader(path).read();
}

std::string peft_config_text(const PeftConfig& config) {
  const json base = config.base_model.empty() ? json() : json(config.base_model);
  const AdapterOptions& options = config.options;
  json alphas = json::object(), ranks = json::object(), whole;
  for (const auto& [module, alpha] : options.alphas.by_key) alphas[module] = alpha_of(alpha);
  for (const auto& [module, r] : options.ranks.by_key) ranks[module] = r;
  if (!options.targets.whole.empty()) whole = options.targets.whole;
  json root = {{"alpha_pattern", alphas},
               {"auto_mapping", nullptr},
               {"base_model_name_or_path", base},
               {"bias", "none"},
               {"fan_in_fan_out", false},
               {"inference_mode", true},
               {"init_lora_weights", true},
               {"layers_pattern", nullptr},
               {"layers_to_transform", nullptr},
               {"lora_alpha", alpha_of(options.alpha)},
               {"lora_dropout", options.dropout},
               {"modules_to_save", whole},
               {"peft_type", "LORA"},
               {"r", options.r},
               {"rank_pattern", ranks},
               {"revision", nullptr},
               {"target_modules", options.targets.modules.names},
               {"task_type", "CAUSAL_LM"},
               {"use_dora", false},
               {"use_rslora", options.rslora}};
  // Older versions of PEFT do not know these.
  if (options.targets.ensure_tying) root["ensure_weight_tying"] = true;
  if (!options.tokens.ids.empty()) root["trainable_token_indices"] = options.tokens.ids;
  // A path that is not UTF-8 must not cost the adapter: the name is for people.
  return root.dump(2, ' ', true, json::error_handler_t::replace);
}

}  // namespace tessera::lora
