// The text of a config.json: which family it is of, models that wrap a text model, and a word on
// those that are not supported.
#include <algorithm>
#include <optional>

#include "lora/model/families.h"
#include "lora/model/quantization_config.h"
#include "runtime/core/error.h"
#include "runtime/io/json.h"
#include "runtime/io/printable.h"

namespace tessera::lora {
namespace {

using nlohmann::json;

/// What tie_word_embeddings of a wrapper means beside its text model's.
enum class Ties : uint8_t {
  kWhole,   // the wrapper's, by default true
  kFiles,   // the wrapper's; where it is left out, tied unless the files have another head
  kEither,  // one of the two has to be true
};

/// Models of text and images whose text model is trained. transformers calls its tensors
/// model.language_model.*; its positions are plain.
struct Wrapper {
  std::string_view architecture;
  std::string_view model_type;
  /// JSON: what the class takes for keys that text_config leaves out, if that is of this
  /// model_type.
  const char* text;
  Ties ties;
};
constexpr Wrapper kWrappers[] = {
    {"Gemma3ForConditionalGeneration", "gemma3", R"({"model_type": "gemma3_text"})", Ties::kWhole},
    // Published configs leave it out and have a head, so without the files it counts as one.
    {"Mistral3ForConditionalGeneration", "mistral3", R"({"model_type": "mistral"})", Ties::kFiles},
    {"LlavaForConditionalGeneration", "llava",
     R"({"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
         "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 32000})",
     Ties::kEither},
};
constexpr const char* kTextConfig = "text_config";

/// Families that are asked for and not there: what Tessera lacks, and a model_type that works.
struct Missing {
  std::string_view model_type;
  std::string_view is;
  std::string_view instead;
};
constexpr std::string_view kExperts = "is a mixture of experts";
constexpr std::string_view kMla = "has latent attention and experts";
constexpr std::string_view kStates = "has state space or linear attention layers";
constexpr std::string_view kMrope = "has rotary positions in three dimensions";
constexpr std::string_view kLayerNorm = "has LayerNorm with biases, and MLPs without a gate";
constexpr std::string_view kParallel = "has LayerNorm, and MLPs beside the attention";
constexpr std::string_view kOtherWrapper = "is a wrapper with other names of tensors";
constexpr Missing kMissing[] = {
    {"mixtral", kExperts, "mistral"},
    {"qwen2_moe", kExperts, "qwen2"},
    {"qwen3_moe", kExperts, "qwen3"},
    {"qwen3_next", "is a mixture of experts with linear attention", "qwen3"},
    {"qwen3_5", kStates, "qwen3"},
    {"qwen3_5_text", kStates, "qwen3"},
    {"qwen3_5_moe", "is a mixture of experts with linear attention", "qwen3"},
    {"qwen3_5_moe_text", "is a mixture of experts with linear attention", "qwen3"},
    {"qwen2_vl", kMrope, "qwen2"},
    {"qwen2_5_vl", kMrope, "qwen2"},
    {"qwen3_vl", kMrope, "qwen3"},
    {"qwen3_vl_moe", "is a mixture of experts with rotary positions in three dimensions", "qwen3"},
    {"gpt_oss", "is a mixture of experts with attention sinks", ""},
    {"deepseek_v2", kMla, ""},
    {"deepseek_v3", kMla, ""},
    {"mistral4", kMla, "ministral3"},
    {"kimi_k2", kMla, ""},
    {"glm4_moe", kExperts, "glm4"},
    {"glm4_moe_lite", kMla, "glm4"},
    {"glm4v", kMrope, "glm4"},
    {"granitemoe", kExperts, "granite"},
    {"granitemoeshared", kExperts, "granite"},
    {"granitemoehybrid", kStates, "granite"},
    {"llama4", kExperts, "llama"},
    {"llama4_text", kExperts, "llama"},
    {"mllama", "has cross-attention to images", "llama"},
    {"gemma3n", "has alternating streams and inputs of each layer", "gemma3_text"},
    {"gemma3n_text", "has alternating streams and inputs of each layer", "gemma3_text"},
    {"gemma4", "has shared keys and values and inputs of each layer", "gemma3_text"},
    {"gemma4_text", "has shared keys and values and inputs of each layer", "gemma3_text"},
    {"paligemma", "has attention in both directions", "gemma2"},
    {"phimoe", kExperts, "phi3"},
    {"phi4_multimodal", kOtherWrapper, "phi3"},
    {"phi", kParallel, "phi3"},
    {"olmo", "has LayerNorm without weights", "olmo2"},
    {"olmoe", kExperts, "olmo2"},
    {"minimax", kExperts, ""},
    {"minimax_m2", kExperts, ""},
    {"jamba", kStates, ""},
    {"mamba", kStates, ""},
    {"mamba2", kStates, ""},
    {"falcon_mamba", kStates, ""},
    {"falcon_h1", kStates, ""},
    {"bamba", kStates, ""},
    {"zamba2", kStates, ""},
    {"nemotron_h", kStates, ""},
    {"lfm2", "has convolution layers", ""},
    {"lfm2_moe", "has convolution layers and experts", ""},
    {"cohere", kParallel, ""},
    {"cohere2", kParallel, ""},
    {"falcon", kParallel, ""},
    {"gpt_neox", kParallel, ""},
    {"gptj", kParallel, ""},
    {"stablelm", "has LayerNorm", ""},
    {"nemotron", "has LayerNorm, and MLPs without a gate", ""},
    {"gpt2", kLayerNorm, ""},
    {"gpt_bigcode", kLayerNorm, ""},
    {"opt", kLayerNorm, ""},
    {"bloom", kLayerNorm, ""},
    {"starcoder2", kLayerNorm, ""},
    {"arcee", "has MLPs without a gate", "llama"},
    {"llava_next", kOtherWrapper, "llava"},
    {"smolvlm", kOtherWrapper, "smollm3"},
    {"idefics3", kOtherWrapper, "smollm3"},
};

[[noreturn]] void refuse(std::string_view source, std::string_view name) {
  std::string supported = names_of(&Family::architecture);
  for (const Wrapper& wrapper : kWrappers) supported.append(", ").append(wrapper.architecture);
  fail("{}: architecture '{}' is not supported; supported: {}", source, io::printable(name),
       supported);
}

/// Says more of a family that is known and missing.
void refuse_missing(std::string_view source, std::string_view model_type) {
  const auto found = std::ranges::find(kMissing, model_type, &Missing::model_type);
  if (found == std::end(kMissing)) return;
  fail("{}: {} {}, which this version cannot train{}{}", source, found->model_type, found->is,
       found->instead.empty() ? "" : "; a related family that works: ", found->instead);
}

/// The only name under `architectures`; none where the key is left out.
std::optional<std::string> architecture_of(const ConfigKeys& keys) {
  const json* names = keys.find("architectures");
  if (!names) return std::nullopt;
  if (!names->is_array() || names->size() != 1 || !names->front().is_string()) {
    refuse(keys.source(), names->dump());
  }
  return names->front().get<std::string>();
}

/// The row of `table` that the architecture names, or model_type where that is left out; null if it
/// is in another table. Error where the two contradict each other.
template <class Row>
const Row* row_of(std::span<const Row> table, const ConfigKeys& keys) {
  const std::optional<std::string> architecture = architecture_of(keys);
  const std::optional<std::string> model_type = keys.string("model_type");
  if (!architecture && !model_type) {
    fail("{}: neither architectures nor model_type is given", keys.source());
  }
  const auto found = architecture ? std::ranges::find(table, *architecture, &Row::architecture)
                                  : std::ranges::find(table, *model_type, &Row::model_type);
  if (found == table.end()) return nullptr;
  if (model_type && *model_type != found->model_type) {
    fail("{}: architectures is {}, which is not of model_type '{}'", keys.source(),
         found->architecture, io::printable(*model_type));
  }
  return &*found;
}

void take_tie(const Wrapper& wrapper, const ConfigKeys& keys, json& text) {
  constexpr const char* kTie = "tie_word_embeddings";
  const bool whole = keys.boolean(kTie, wrapper.ties == Ties::kWhole);
  if (wrapper.ties != Ties::kEither || whole) text[kTie] = whole;
}

/// What is read as the config of the text model. Where both have a key that is the whole model's,
/// transformers takes the wrapper's. The row of the embedding that is not trained is the text's.
json text_of(const Wrapper& wrapper, const ConfigKeys& keys) {
  const json* given = keys.object(kTextConfig);
  if (!given) fail("{}: {} is missing", keys.source(), kTextConfig);
  json text = json::parse(wrapper.text);
  if (given->contains("model_type") && (*given)["model_type"] != text["model_type"]) {
    text = json::object();
  }
  text.update(*given);
  for (const char* key : {"bos_token_id", "eos_token_id"}) {
    if (const json* value = keys.find(key)) text[key] = *value;
  }
  take_tie(wrapper, keys, text);
  for (const char* key : {"torch_dtype", "dtype"}) {
    if (const json* value = keys.find(key)) text["dtype"] = *value;
  }
  return text;
}

const Family& text_family(const ConfigKeys& text_keys) {
  const std::string model_type = text_keys.string("model_type").value_or("");
  refuse_missing(text_keys.source(), model_type);
  const Family* family = find_family(&Family::model_type, model_type);
  if (!family) {
    fail("{}: model_type '{}' is not supported; supported: {}", text_keys.source(),
         io::printable(model_type), names_of(&Family::model_type));
  }
  return *family;
}

ModelSpec read_wrapped(const Wrapper& wrapper, const ConfigKeys& keys) {
  const json text = text_of(wrapper, keys);
  const std::string source = fmt::format("{}: {}", keys.source(), kTextConfig);
  const ConfigKeys text_keys(text, source);
  ModelSpec spec = text_family(text_keys).read(text_keys);
  spec.architecture = wrapper.architecture;
  spec.prefix = "model.language_model.";
  spec.may_be_tied = wrapper.ties == Ties::kFiles && !keys.find("tie_word_embeddings");
  // The wrappers' classes in transformers apply the head alone.
  spec.logit_scale = 1;
  spec.logit_softcap = 0;
  return spec;
}

[[noreturn]] void refuse_unknown(const ConfigKeys& keys) {
  const std::string model_type = keys.string("model_type").value_or("");
  refuse_missing(keys.source(), model_type);
  refuse(keys.source(), architecture_of(keys).value_or(model_type));
}

ModelSpec read_any(const ConfigKeys& keys) {
  if (const Wrapper* wrapper = row_of(std::span<const Wrapper>(kWrappers), keys)) {
    return read_wrapped(*wrapper, keys);
  }
  if (const Family* family = row_of(families(), keys)) {
    ModelSpec spec = family->read(keys);
    spec.architecture = family->architecture;
    return spec;
  }
  refuse_unknown(keys);
}

}  // namespace

ModelSpec parse_config(std::string_view text, std::string_view source) {
  const json root = io::parse_json(text, source);
  const ConfigKeys keys(root, source);
  check_quantization(keys);
  ModelSpec spec = read_any(keys);
  check_spec(spec, source);
  return spec;
}

const Family& family_of_config(std::string_view text, std::string_view source) {
  const json root = io::parse_json(text, source);
  const ConfigKeys keys(root, source);
  if (const Wrapper* wrapper = row_of(std::span<const Wrapper>(kWrappers), keys)) {
    const json text_config = text_of(*wrapper, keys);
    return text_family(ConfigKeys(text_config, source));
  }
  if (const Family* family = row_of(families(), keys)) return *family;
  refuse_unknown(keys);
}

}  // namespace tessera::lora
