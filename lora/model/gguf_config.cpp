// The config.json that transformers would have for a GGUF model, from the metadata that llama.cpp's
// converter made of it. The families' readers read it as they read a folder's.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>

#include "lora/model/checkpoint_source.h"
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
  std::string string(std::string_view key) const { return file_.string(name(key)); }
  std::vector<int64_t> integers(std::string_view key) const { return file_.integers(name(key)); }
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
    {"rope.scaling.yarn_attn_factor", "attention_factor"},
    {"rope.scaling.attn_factor", "attention_factor"},
};
/// What is refused unless it is zero.
constexpr std::string_view kForeign[] = {"expert_count", "nextn_predict_layers"};

/// The families whose readers take a window; llama.cpp has the windows of others nowhere.
constexpr std::string_view kWithWindow[] = {"gemma2", "gemma3_text", "phi3",
                                            "olmo3",  "mistral",     "ministral3"};

void refuse_nonzero(const Metadata& data, std::string_view key) {
  if (data.integer_or(key, 0) == 0) return;
  fail("{}: metadata {} is {}, which is not supported", data.path(), data.name(key),
       data.integer(key));
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
  config["num_key_value_heads"] = data.integer_or("attention.head_count_kv", heads);
  config["rms_norm_eps"] = data.real("attention.layer_norm_rms_epsilon");
  config["vocab_size"] = vocabulary(data);
  const int64_t head_dim =
      data.integer_or("attention.key_length", config["hidden_size"].get<int64_t>() / heads);
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
  config["attention_bias"] = file.find("blk.0.attn_q.bias") != nullptr;
  config["mlp_bias"] = file.find("blk.0.ffn_up.bias") != nullptr;
}

int64_t token_id(const GgufFile& file, std::string_view key, int64_t vocab) {
  const int64_t id = file.integer(key);
  if (id < 0 || id >= vocab) {
    fail("{}: metadata {} is {}, the vocabulary has {}", file.path(), key, id, vocab);
  }
  return id;
}

void add_token_ids(const GgufFile& file, json& config) {
  const int64_t vocab = config["vocab_size"];
  if (file.has("tokenizer.ggml.bos_token_id")) {
    config["bos_token_id"] = token_id(file, "tokenizer.ggml.bos_token_id", vocab);
  }
  config["pad_token_id"] = nullptr;
  if (file.has("tokenizer.ggml.padding_token_id")) {
    config["pad_token_id"] = token_id(file, "tokenizer.ggml.padding_token_id", vocab);
  }
  json ids = json::array();
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"}) {
    if (!file.has(key)) continue;
    const int64_t id = token_id(file, key, vocab);
    if (std::ranges::find(ids, json(id)) == ids.end()) ids.push_back(id);
  }
  if (!ids.empty()) config["eos_token_id"] = ids.size() == 1 ? ids.front() : ids;
}

// Rotary positions.

std::vector<float> floats_of(const Metadata& data, const GgufTensor& tensor, size_t count) {
  if (tensor.type != GgufType::kF32 || tensor.bytes != count * sizeof(float)) {
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
/// which the older one counts last; none where there is no factor.
json scaling_of(const Metadata& data, int64_t dims) {
  json scaling = json::object();
  std::string type = "linear";
  if (data.has("rope.scaling.type")) type = data.string("rope.scaling.type");
  const GgufTensor* const long_factors = data.file().find(kRopeLongFactors);
  const GgufTensor* const short_factors = data.file().find(kRopeShortFactors);
  if (long_factors && short_factors) type = "longrope";
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
    if (!data.has(factor)) return nullptr;
    scaling["factor"] = data.real(factor);
    if (data.real(factor) <= 0.0) {
      fail("{}: metadata {} is not above zero", data.path(), data.name(factor));
    }
  }
  scaling["rope_type"] = type;
  for (const KeyPair& pair : kScalingNumbers) {
    if (data.has(pair.gguf)) scaling[pair.config] = data.real(pair.gguf);
  }
  if (type != "linear" && data.has("rope.scaling.original_context_length")) {
    scaling["original_max_position_embeddings"] =
        data.integer("rope.scaling.original_context_length");
  }
  return scaling;
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

void finish_gemma2(const Metadata&, json& config) { add_query_scalar(46, config); }

void finish_gemma3(const Metadata& data, json& config) {
  add_query_scalar(62, config);
  config["rope_local_base_freq"] = data.real_or("rope.freq_base_swa", 10000.0);
  // Of how many layers the last has no window.
  config["sliding_window_pattern"] = config.contains("sliding_window")
                                         ? data.integer_or("attention.sliding_window_pattern", 6)
                                         : 1;
}

void finish_granite(const Metadata& data, json&) {
  data.real("attention.scale");  // without it llama.cpp and transformers do not agree
}

void finish_mistral(const Metadata&, json& config) {
  if (!config.contains("sliding_window")) config["sliding_window"] = nullptr;
}

void finish_ministral3(const Metadata& data, json& config) {
  json& scaling = config["rope_scaling"];
  if (scaling.is_null()) scaling = json::object();
  scaling["llama_4_scaling_beta"] = data.real("attention.temperature_scale");
  if (data.has("rope.scaling.yarn_log_multiplier")) {
    scaling["mscale"] = 1.0;
    scaling["mscale_all_dim"] = data.real("rope.scaling.yarn_log_multiplier");
  }
  finish_mistral(data, config);
}

/// Each kind of layers has its rule, with the base of both.
void finish_olmo3(const Metadata& data, json& config) {
  if (data.has("attention.sliding_window_pattern")) {
    config["layer_types"] = json::array();
    for (const bool slides : data.booleans("attention.sliding_window_pattern")) {
      config["layer_types"].push_back(slides ? "sliding_attention" : "full_attention");
    }
  }
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

constexpr struct {
  std::string_view model_type;
  void (*finish)(const Metadata& data, json& config);
} kFinishers[] = {
    {"gemma2", finish_gemma2},   {"gemma3_text", finish_gemma3},    {"granite", finish_granite},
    {"mistral", finish_mistral}, {"ministral3", finish_ministral3}, {"olmo3", finish_olmo3},
    {"phi3", finish_phi3}};

void add_window(const Metadata& data, std::string_view model_type, json& config) {
  if (std::ranges::find(kWithWindow, model_type) == std::end(kWithWindow)) {
    return refuse_nonzero(data, "attention.sliding_window");
  }
  const int64_t window = data.integer_or("attention.sliding_window", 0);
  if (window != 0) config["sliding_window"] = window;
}

}  // namespace

std::string config_of_metadata(const GgufFile& file) {
  const Metadata data(file);
  const Family& family = family_of_gguf(
      data.architecture(), [&](std::string_view key) { return data.has(key); }, data.path());
  for (const std::string_view key : kForeign) refuse_nonzero(data, key);
  json config = {{"architectures", {family.architecture}}, {"model_type", family.model_type}};
  add_sizes(data, config);
  add_switches(file, config);
  add_token_ids(file, config);
  add_rope(data, config);
  add_window(data, family.model_type, config);
  for (const auto& [model_type, finish] : kFinishers) {
    if (model_type == family.model_type) finish(data, config);
  }
  return config.dump(2) + "\n";
}

}  // namespace tessera::lora
