// The config.json that transformers would have for a GGUF model, from the metadata that llama.cpp's
// converter made of it. The families' readers read it as they read a folder's.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>

#include "lora/model/checkpoint_source.h"
#include "lora/model/config_keys.h"
#include "lora/model/families.h"
#include "runtime/core/error.h"
#include "runtime/io/gguf.h"
#include "runtime/io/printable.h"

namespace tessera::lora {
namespace {

using io::GgufFile;
using io::GgufTensor;
using io::GgufType;
using nlohmann::json;

/// The keys of the model itself, which begin with its architecture's name: "llama.block_count".
class Metadata {
 public:
  explicit Metadata(const GgufFile& file)
      : file_(file), architecture_(file.string("general.architecture")) {}

  const GgufFile& file() const { return file_; }
  const std::string& path() const { return file_.path(); }
  const std::string& architecture() const { return architecture_; }
  std::string name(std::string_view key) const { return fmt::format("{}.{}", architecture_, key); }
  bool has(std::string_view key) const { return file_.has(name(key)); }
  int64_t integer(std::string_view key) const { return file_.integer(name(key)); }
  int64_t integer_or(std::string_view key, int64_t otherwise) const {
    return has(key) ? integer(key) : otherwise;
  }
  double real(std::string_view key) const {
    const double number = file_.real(name(key));
    if (!std::isfinite(number)) fail("{}: metadata {} is not a finite number", path(), name(key));
    return number;
  }
  double real_or(std::string_view key, double otherwise) const {
    return has(key) ? real(key) : otherwise;
  }
  bool boolean_or(std::string_view key, bool otherwise) const {
    return has(key) ? file_.boolean(name(key)) : otherwise;
  }
  std::string string(std::string_view key) const { return file_.string(name(key)); }
  std::vector<int64_t> integers(std::string_view key) const { return file_.integers(name(key)); }
  bool is_array(std::string_view key) const { return file_.is_array(name(key)); }
  std::vector<bool> booleans(std::string_view key) const { return file_.booleans(name(key)); }

 private:
  const GgufFile& file_;
  std::string architecture_;
};

/// Metadata with a key of the config that means the same.
struct KeyPair {
  std::string_view gguf;
  const char* config;
};
constexpr KeyPair kSizes[] = {
    {"embedding_length", "hidden_size"},           {"feed_forward_length", "intermediate_size"},
    {"block_count", "num_hidden_layers"},          {"attention.head_count", "num_attention_heads"},
    {"context_length", "max_position_embeddings"},
};
/// Numbers that not all families have. Zero is none in GGUF and null in a config.
constexpr KeyPair kNumbers[] = {
    {"attn_logit_softcapping", "attn_logit_softcapping"},
    {"final_logit_softcapping", "final_logit_softcapping"},
    {"embedding_scale", "embedding_multiplier"},
    {"residual_scale", "residual_multiplier"},
    {"logit_scale", "logits_scaling"},
    {"attention.scale", "attention_multiplier"},
};
/// Of a scaling of rotary positions, with its names under rope_scaling.
constexpr KeyPair kScalingNumbers[] = {
    {"rope.scaling.yarn_beta_fast", "beta_fast"},
    {"rope.scaling.yarn_beta_slow", "beta_slow"},
};

template <class T>
[[noreturn]] void refuse(const Metadata& data, std::string_view key, const T& value) {
  fail("{}: metadata {} is {}, which is not supported", data.path(), data.name(key), value);
}

void refuse_other_than(const Metadata& data, std::string_view key, int64_t assumed) {
  const int64_t value = data.integer_or(key, assumed);
  if (value != assumed) refuse(data, key, value);
}

/// What llama.cpp reads, and what the families here have always. The config has its sizes.
void refuse_foreign(const Metadata& data, const json& config) {
  const int64_t head_dim = config["head_dim"];
  const struct {
    std::string_view key;
    int64_t assumed;
  } assumptions[] = {
      {"expert_count", 0},
      {"nextn_predict_layers", 0},
      {"attention.key_length_swa", head_dim},
      {"attention.value_length_swa", head_dim},
      {"rope.dimension_count_swa", data.integer_or("rope.dimension_count", head_dim)},
  };
  for (const auto& [key, assumed] : assumptions) refuse_other_than(data, key, assumed);
  if (!data.boolean_or("attention.causal", true)) refuse(data, "attention.causal", false);
}

/// Rows of the embedding, for what the metadata leaves out.
int64_t vocabulary(const Metadata& data) {
  const GgufTensor* embedding = data.file().find(kEmbeddingGguf);
  if (!embedding || embedding->shape.size() != 2) {
    fail("{}: tensor '{}' is missing or not a matrix", data.path(), kEmbeddingGguf);
  }
  return data.integer_or("vocab_size", embedding->shape[0]);
}

void add_sizes(const Metadata& data, json& config) {
  for (const KeyPair& pair : kSizes) config[pair.config] = data.integer(pair.gguf);
  const int64_t heads = config["num_attention_heads"];
  if (heads < 1) fail("{}: {} attention heads", data.path(), heads);
  const ConfigKeys sizes(config, data.path());
  const int64_t hidden = sizes.integer("hidden_size", 1, SpecLimits::kWidth);
  sizes.integer("num_attention_heads", 1, SpecLimits::kWidth);
  config["num_key_value_heads"] = data.integer_or("attention.head_count_kv", heads);
  config["rms_norm_eps"] = data.real("attention.layer_norm_rms_epsilon");
  config["vocab_size"] = vocabulary(data);
  const int64_t head_dim = data.integer_or("attention.key_length", hidden / heads);
  if (head_dim < 1 || head_dim > SpecLimits::kWidth) {
    fail("{}: a head has the size {}, expected 1 to {}", data.path(), head_dim, SpecLimits::kWidth);
  }
  if (data.integer_or("attention.value_length", head_dim) != head_dim) {
    fail("{}: values and keys of different length are not supported", data.path());
  }
  config["head_dim"] = head_dim;
  for (const KeyPair& pair : kNumbers) {
    if (!data.has(pair.gguf)) continue;
    const double number = data.real(pair.gguf);
    config[pair.config] = number == 0 ? json(nullptr) : json(number);
  }
}

/// What the tensors tell.
void add_switches(const GgufFile& file, json& config) {
  config["tie_word_embeddings"] = file.find(kHeadGguf) == nullptr;
  config["attention_bias"] = file.find("blk.0.attn_q.bias") || file.find("blk.0.attn_qkv.bias");
  config["mlp_bias"] = file.find("blk.0.ffn_up.bias") != nullptr;
}

/// Null where there is none. Like llama.cpp, takes one outside the vocabulary for none.
json token_id(const GgufFile& file, std::string_view key, int64_t vocab,
              std::vector<std::string>& notes) {
  if (!file.has(key)) return nullptr;
  const int64_t id = file.integer(key);
  if (id >= 0 && id < vocab) return id;
  notes.push_back(fmt::format("warning: {}: metadata {} is {}, but the vocabulary has {}; not used",
                              file.path(), key, id, vocab));
  return nullptr;
}

/// Null is none in a config; a key that is left out would be the class's.
void add_token_ids(const GgufFile& file, json& config, std::vector<std::string>& notes) {
  const auto id_of = [&](std::string_view key) {
    return token_id(file, key, config["vocab_size"], notes);
  };
  config["bos_token_id"] = id_of("tokenizer.ggml.bos_token_id");
  config["pad_token_id"] = id_of("tokenizer.ggml.padding_token_id");
  json ids = json::array();
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"}) {
    const json id = id_of(key);
    if (!id.is_null() && std::ranges::find(ids, id) == ids.end()) ids.push_back(id);
  }
  config["eos_token_id"] = ids.size() > 1 ? ids : ids.empty() ? json(nullptr) : ids.front();
}

// Rotary positions.

std::vector<float> floats_of(const Metadata& data, const GgufTensor& tensor, size_t count) {
  if (tensor.type != GgufType::kF32 || tensor.bytes / sizeof(float) != count) {
    fail("{}: tensor '{}' does not hold {} float32 values", data.path(), tensor.name, count);
  }
  std::vector<float> values(count);
  data.file().read(tensor, std::as_writable_bytes(std::span(values)));
  return values;
}

/// Llama 3's rule, as transformers defines it, with the bounds that every such model has.
struct Llama3 {
  static constexpr double kLow = 1.0, kHigh = 4.0;
  double factor;
  double original = 8192;  // positions

  double divisor(double frequency) const {
    const double turns = original * frequency / (2.0 * std::numbers::pi);
    if (turns > kHigh) return 1.0;
    if (turns < kLow) return factor;
    const double smooth = (turns - kLow) / (kHigh - kLow);
    return 1.0 / ((1.0 - smooth) / factor + smooth);
  }
  /// The original that gives a frequency the divisor, which is between 1 and the factor.
  double original_from(double divisor, double frequency) const {
    const double smooth = (1.0 / divisor - 1.0 / factor) / (1.0 - 1.0 / factor);
    const double turns = kLow + smooth * (kHigh - kLow);
    return std::round(turns * (2.0 * std::numbers::pi) / frequency);
  }
};

/// llama.cpp's converter keeps only the outcome of Llama 3's rule, one divisor per frequency. The
/// last divisor is the factor, and the first one between 1 and the factor tells the original number
/// of positions; if the rule then gives all of them back, the rule it is.
json recognised_llama3(const Metadata& data, const GgufTensor& stored, int64_t dims, double theta) {
  const std::vector<float> divisors = floats_of(data, stored, size_t(dims / 2));
  Llama3 rule{.factor = divisors.empty() ? 0.0 : divisors.back()};
  const auto frequency = [&](size_t i) {
    return std::pow(theta, -double(i) / double(divisors.size()));
  };
  const auto between = std::ranges::find_if(
      divisors, [&](double divisor) { return divisor > 1.0 && divisor < rule.factor; });
  if (between != divisors.end()) {
    rule.original = rule.original_from(*between, frequency(size_t(between - divisors.begin())));
  }
  bool matches =
      rule.factor >= 1.0 && rule.original >= 1.0 && rule.original <= double(SpecLimits::kPosition);
  for (size_t i = 0; i < divisors.size(); ++i) {
    const double expected = rule.divisor(frequency(i));
    matches = matches && std::abs(divisors[i] - expected) <= 1e-4 * expected;
  }
  if (!matches) {
    fail(
        "{}: the rotary factors in '{}' are not those of Llama 3's rule, which is the only one "
        "supported; use the model's Hugging Face folder",
        data.path(), stored.name);
  }
  return {{"rope_type", "llama3"},
          {"factor", rule.factor},
          {"low_freq_factor", Llama3::kLow},
          {"high_freq_factor", Llama3::kHigh},
          {"original_max_position_embeddings", int64_t(rule.original)}};
}

/// As llama.cpp reads it: linear unless the type says otherwise; a factor in two spellings, of
/// which the older one counts last; none where there is no factor, or a zero.
json scaling_of(const Metadata& data, int64_t dims) {
  json scaling = json::object();
  std::string type = "linear";
  if (data.has("rope.scaling.type")) type = data.string("rope.scaling.type");
  const GgufTensor* const long_factors = data.file().find(kRopeLongFactors);
  const GgufTensor* const short_factors = data.file().find(kRopeShortFactors);
  if (long_factors || short_factors) type = "longrope";
  if (type == "longrope") {
    if (!long_factors || !short_factors) {
      fail("{}: tensor '{}' or '{}' is missing", data.path(), kRopeLongFactors, kRopeShortFactors);
    }
    scaling["long_factor"] = floats_of(data, *long_factors, size_t(dims / 2));
    scaling["short_factor"] = floats_of(data, *short_factors, size_t(dims / 2));
  } else if (type == "none") {
    return nullptr;
  } else if (type != "linear" && type != "yarn") {
    fail("{}: rope scaling '{}' is not supported; supported: none, linear, yarn, longrope",
         data.path(), io::printable(type));
  } else {
    const char* factor =
        data.has("rope.scaling.factor") ? "rope.scaling.factor" : "rope.scale_linear";
    if (!data.has(factor) || data.real(factor) == 0) return nullptr;
    scaling["factor"] = data.real(factor);
    if (data.real(factor) <= 0.0) {
      fail("{}: metadata {} is not above zero", data.path(), data.name(factor));
    }
  }
  scaling["rope_type"] = type;
  for (const KeyPair& pair : kScalingNumbers) {
    if (data.has(pair.gguf)) scaling[pair.config] = data.real(pair.gguf);
  }
  if (const double factor = data.real_or("rope.scaling.yarn_attn_factor", 1.0); factor != 1) {
    scaling["attention_factor"] = factor;
  }
  if (type != "linear" && data.has("rope.scaling.original_context_length")) {
    scaling["original_max_position_embeddings"] =
        data.integer("rope.scaling.original_context_length");
  }
  return scaling;
}

/// llama.cpp multiplies by it whatever the scaling has made of queries and keys. For longrope that
/// is nothing, and the whole factor; for YaRN what its factor makes; elsewhere no config says it.
void add_attention_factor(const Metadata& data, json& scaling) {
  constexpr std::string_view kKey = "rope.scaling.attn_factor";
  if (!data.has(kKey)) return;
  const double factor = data.real(kKey);
  if (!scaling.is_null() && scaling["rope_type"] == "longrope") {
    scaling["attention_factor"] = factor;
    return;
  }
  if (factor == 1) return;
  const bool yarn = !scaling.is_null() && scaling["rope_type"] == "yarn";
  if (!yarn || data.has("rope.scaling.yarn_log_multiplier")) refuse(data, kKey, factor);
  const double of_scaling = std::max(1.0, 1.0 + 0.1 * std::log(scaling["factor"].get<double>()));
  scaling["attention_factor"] = scaling.value("attention_factor", of_scaling) * factor;
}

void add_rope(const Metadata& data, json& config) {
  if (data.has("rope.dimension_sections")) {
    for (const int64_t section : data.integers("rope.dimension_sections")) {
      if (section == 0) continue;
      fail("{}: metadata {}: rotary positions in several dimensions are not supported", data.path(),
           data.name("rope.dimension_sections"));
    }
  }
  const double theta = data.real_or("rope.freq_base", 10000.0);
  config["rope_theta"] = theta;
  const int64_t head_dim = config["head_dim"];
  const int64_t dims = data.integer_or("rope.dimension_count", head_dim);
  if (dims != head_dim) {
    if (dims < 1 || dims > head_dim) {
      fail("{}: metadata {} is {}, expected 1 to {}", data.path(),
           data.name("rope.dimension_count"), dims, head_dim);
    }
    double part = double(dims) / double(head_dim);
    // A reader takes the whole part of the product.
    if (int64_t(part * double(head_dim)) < dims) part = std::nextafter(part, 2.0);
    config["partial_rotary_factor"] = part;
  }
  json scaling = scaling_of(data, dims);
  add_attention_factor(data, scaling);
  if (const GgufTensor* divisors = data.file().find(kRopeFactors)) {
    if (!scaling.is_null()) {
      fail("{}: has both rope scaling '{}' and tensor '{}'", data.path(),
           scaling["rope_type"].get<std::string>(), kRopeFactors);
    }
    scaling = recognised_llama3(data, *divisors, dims, theta);
  }
  config["rope_scaling"] = scaling;
}

// What a family has besides.

/// llama.cpp knows by the number of layers which models scale scores by the hidden size.
void add_query_scalar(int64_t layers_of_large, json& config) {
  config["query_pre_attn_scalar"] = config["num_hidden_layers"] == layers_of_large
                                        ? json(config["hidden_size"].get<int64_t>() /
                                               config["num_attention_heads"].get<int64_t>())
                                        : config["head_dim"];
}

/// As llama.cpp reads it: which layers have the window, or of how many layers the last has none,
/// where zero means that all have it.
void add_layer_types(const Metadata& data, json& config) {
  constexpr std::string_view kKey = "attention.sliding_window_pattern";
  if (!data.has(kKey)) return;
  std::vector<bool> slides;
  if (data.is_array(kKey)) {
    slides = data.booleans(kKey);
  } else {
    const int64_t period = data.integer(kKey), layers = config["num_hidden_layers"];
    check_layers(layers, data.path());
    if (period < 0) refuse(data, kKey, period);
    for (int64_t i = 1; i <= layers; ++i) slides.push_back(period == 0 || i % period != 0);
  }
  json& types = config["layer_types"] = json::array();
  for (const bool has_window : slides) {
    types.push_back(has_window ? "sliding_attention" : "full_attention");
  }
}

/// Of families whose layers have one base of rotary positions, with a window or without.
void refuse_own_base(const Metadata& data, const json& config) {
  const double theta = config["rope_theta"];
  const double of_windows = data.real_or("rope.freq_base_swa", theta);
  if (of_windows != theta) refuse(data, "rope.freq_base_swa", of_windows);
}

void finish_gemma2(const Metadata& data, json& config) {
  add_query_scalar(46, config);
  add_layer_types(data, config);
  refuse_own_base(data, config);
}

void finish_gemma3(const Metadata& data, json& config) {
  add_query_scalar(62, config);
  config["rope_local_base_freq"] = data.real_or("rope.freq_base_swa", 10000.0);
  if (config.contains("sliding_window")) return add_layer_types(data, config);
  config["sliding_window_pattern"] = 1;  // every layer sees everything
}

/// llama.cpp and transformers do not agree on the scale of scores where it is left out, and
/// llama.cpp turns no head of a Granite whose scaling is not "finetuned".
void finish_granite(const Metadata& data, json&) {
  if (data.real("attention.scale") == 0) refuse(data, "attention.scale", 0);
  if (!data.boolean_or("rope.scaling.finetuned", true)) {
    refuse(data, "rope.scaling.finetuned", false);
  }
}

void finish_mistral(const Metadata&, json& config) {
  if (!config.contains("sliding_window")) config["sliding_window"] = nullptr;
}

void finish_ministral3(const Metadata& data, json& config) {
  json& scaling = config["rope_scaling"];
  if (scaling.is_null()) scaling = json::object();
  scaling["llama_4_scaling_beta"] = data.real("attention.temperature_scale");
  if (data.has("rope.scaling.original_context_length")) {
    scaling["original_max_position_embeddings"] =
        data.integer("rope.scaling.original_context_length");
  }
  if (data.has("rope.scaling.yarn_log_multiplier")) {
    scaling["mscale"] = 1.0;
    scaling["mscale_all_dim"] = data.real("rope.scaling.yarn_log_multiplier");
  }
  finish_mistral(data, config);
}

void finish_exaone4(const Metadata& data, json& config) {
  if (config.contains("sliding_window")) {
    add_layer_types(data, config);
    refuse_own_base(data, config);
  }
  finish_mistral(data, config);
}

/// Each kind of layers has its rule, with the base of both.
void finish_olmo3(const Metadata& data, json& config) {
  add_layer_types(data, config);
  json full = config["rope_scaling"].is_null() ? json::object() : config["rope_scaling"];
  full["rope_theta"] = config["rope_theta"];
  config["rope_parameters"] = {
      {"full_attention", full},
      {"sliding_attention",
       {{"rope_theta", data.real_or("rope.freq_base_swa", config["rope_theta"].get<double>())}}}};
  config.erase("rope_scaling");
  config.erase("rope_theta");
}

/// The class takes the number from outside the scaling.
void finish_phi3(const Metadata&, json& config) {
  const json& scaling = config["rope_scaling"];
  if (!scaling.contains("original_max_position_embeddings")) return;
  config["original_max_position_embeddings"] = scaling["original_max_position_embeddings"];
}

struct Finisher {
  std::string_view model_type;
  bool has_window;  // llama.cpp has the windows of others nowhere
  void (*finish)(const Metadata& data, json& config);
};
constexpr Finisher kFinishers[] = {
    {"exaone4", true, finish_exaone4},    {"gemma2", true, finish_gemma2},
    {"gemma3_text", true, finish_gemma3}, {"granite", false, finish_granite},
    {"mistral", true, finish_mistral},    {"ministral3", true, finish_ministral3},
    {"olmo3", true, finish_olmo3},        {"phi3", true, finish_phi3}};

void finish(const Metadata& data, std::string_view model_type, json& config) {
  const auto own = std::ranges::find(kFinishers, model_type, &Finisher::model_type);
  const bool is_there = own != std::end(kFinishers);
  if (is_there && own->has_window) {
    const int64_t window = data.integer_or("attention.sliding_window", 0);
    if (window != 0) config["sliding_window"] = window;
  } else {
    refuse_other_than(data, "attention.sliding_window", 0);
  }
  if (is_there) own->finish(data, config);
}

/// llama.cpp's converter knows ChatGLM's names of these settings alone. For a Glm, whose config has
/// others, it writes the hidden size as the number of positions, and constants as the other two.
void warn_of_constants(const Metadata& data, std::vector<std::string>& notes) {
  if (data.architecture() != "chatglm") return;
  if (data.integer("context_length") != data.integer("embedding_length")) return;
  constexpr std::string_view kEpsilon = "attention.layer_norm_rms_epsilon",
                             kBase = "rope.freq_base";
  notes.push_back(fmt::format(
      "warning: {}: metadata {} is the hidden size, which llama.cpp's converter writes where it "
      "does not find the model's; it may have missed {} ({}) and {} ({}), too: compare them with "
      "rms_norm_eps and rope_theta in the model's config.json",
      data.path(), data.name("context_length"), data.name(kEpsilon), float(data.real(kEpsilon)),
      data.name(kBase), data.real_or(kBase, 10000.0)));
}

}  // namespace

std::string config_of_metadata(const GgufFile& file, std::vector<std::string>& notes) {
  const Metadata data(file);
  const auto is_set = [&](std::string_view key) { return data.has(key) && data.real(key) != 0; };
  const Family& family = family_of_gguf(data.architecture(), is_set, data.path());
  json config = {{"architectures", {family.architecture}}, {"model_type", family.model_type}};
  add_sizes(data, config);
  refuse_foreign(data, config);
  add_switches(file, config);
  add_token_ids(file, config, notes);
  add_rope(data, config);
  finish(data, family.model_type, config);
  warn_of_constants(data, notes);
  return config.dump(2) + "\n";
}

}  // namespace tessera::lora
