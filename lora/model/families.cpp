#include "lora/model/families.h"

#include <cmath>
#include <optional>

#include "runtime/core/error.h"
#include "runtime/io/json.h"
#include "runtime/io/printable.h"

namespace tessera::lora {
namespace {

using nlohmann::json;

constexpr std::string_view kArchitecture = "LlamaForCausalLM";

constexpr NormName kPreNorms[] = {
    {NormSite::kBeforeAttention, "input_layernorm", "attn_norm"},
    {NormSite::kBeforeMlp, "post_attention_layernorm", "ffn_norm"},
};

/// Typed access to one JSON object. A key whose value is null counts as absent.
class Keys {
 public:
  Keys(const json& object, std::string_view source) : object_(object), source_(source) {
    if (!object.is_object()) fail("{}: expected a JSON object", source);
  }

  std::string_view source() const { return source_; }
  const json* find(const char* key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }
  int64_t integer(const char* key, int64_t min, int64_t max) const {
    return as_integer(key, required(key), min, max);
  }
  int64_t integer(const char* key, int64_t min, int64_t max, int64_t otherwise) const {
    const json* value = find(key);
    return value ? as_integer(key, *value, min, max) : otherwise;
  }
  double positive(const char* key) const { return as_positive(key, required(key)); }
  double positive(const char* key, double otherwise) const {
    const json* value = find(key);
    return value ? as_positive(key, *value) : otherwise;
  }
  bool boolean(const char* key, bool otherwise) const {
    const json* value = find(key);
    if (value && !value->is_boolean()) wrong(key, *value, "true or false");
    return value ? value->get<bool>() : otherwise;
  }
  std::optional<std::string> string(const char* key) const {
    const json* value = find(key);
    if (!value) return std::nullopt;
    if (!value->is_string()) wrong(key, *value, "a string");
    return value->get<std::string>();
  }
  int64_t as_integer(const char* key, const json& value, int64_t min, int64_t max) const {
    const bool fits = value.is_number_unsigned() ? value.get<uint64_t>() <= uint64_t(max)
                                                 : value.is_number_integer();
    if (!fits || value.get<int64_t>() < min || value.get<int64_t>() > max) {
      wrong(key, value, fmt::format("an integer from {} to {}", min, max));
    }
    return value.get<int64_t>();
  }

 private:
  [[noreturn]] void wrong(const char* key, const json& value, std::string_view expected) const {
    fail("{}: {} is {}, expected {}", source_, key, io::printable(value.dump()), expected);
  }
  const json& required(const char* key) const {
    const json* value = find(key);
    if (!value) fail("{}: {} is missing", source_, key);
    return *value;
  }
  double as_positive(const char* key, const json& value) const {
    const double number = value.is_number() ? value.get<double>() : 0.0;
    if (!(number > 0.0 && std::isfinite(number))) wrong(key, value, "a number above zero");
    return number;
  }

  const json& object_;
  std::string_view source_;
};

void check_architecture(const Keys& keys) {
  if (keys.find("quantization_config")) {
    fail(
        "{}: quantization_config is present, the checkpoint is already quantized; give the "
        "original 16- or 32-bit checkpoint, which is quantized while it is loaded",
        keys.source());
  }
  const auto refuse = [&](const std::string& name) {
    fail("{}: architecture '{}' is not supported; supported: {}", keys.source(),
         io::printable(name), kArchitecture);
  };
  const std::optional<std::string> model_type = keys.string("model_type");
  const json* names = keys.find("architectures");
  if (names) {
    if (!names->is_array() || names->size() != 1 || names->front() != kArchitecture) {
      refuse(names->is_array() && names->size() == 1 && names->front().is_string()
                 ? names->front().get<std::string>()
                 : names->dump());
    }
  } else if (!model_type) {
    fail("{}: neither architectures nor model_type is given", keys.source());
  }
  if (model_type && *model_type != "llama") refuse(*model_type);
}

void check_switches(const Keys& keys) {
  const std::string activation = keys.string("hidden_act").value_or("silu");
  if (activation != "silu") {
    fail("{}: hidden_act is '{}', only silu is supported", keys.source(),
         io::printable(activation));
  }
  for (const char* key : {"attention_bias", "mlp_bias"}) {
    if (keys.boolean(key, false)) {
      fail("{}: {} is true; projections with a bias are not supported", keys.source(), key);
    }
  }
}

/// The settings under rope_scaling, or under rope_parameters as transformers 5 writes them.
void read_rope(const Keys& keys, ModelSpec& spec) {
  spec.rope_theta = keys.positive("rope_theta", spec.rope_theta);
  const json* nested = keys.find("rope_parameters");
  if (!nested) nested = keys.find("rope_scaling");
  if (!nested) return;
  const Keys rope(*nested, keys.source());
  spec.rope_theta = rope.positive("rope_theta", spec.rope_theta);
  if (rope.positive("partial_rotary_factor", 1.0) != 1.0) {
    fail("{}: partial_rotary_factor other than 1 is not supported", keys.source());
  }
  std::optional<std::string> type = rope.string("rope_type");
  if (!type) type = rope.string("type");  // the older spelling
  RopeScaling& scaling = spec.rope_scaling;
  if (!type || *type == "default") return;
  if (*type == "linear") {
    scaling.kind = RopeScaling::Kind::kLinear;
    scaling.factor = rope.positive("factor");
  } else if (*type == "llama3") {
    scaling.kind = RopeScaling::Kind::kLlama3;
    scaling.factor = rope.positive("factor");
    scaling.low_freq_factor = rope.positive("low_freq_factor");
    scaling.high_freq_factor = rope.positive("high_freq_factor");
    scaling.original_max_position =
        rope.integer("original_max_position_embeddings", 1, SpecLimits::kPosition);
  } else {
    fail("{}: rope_type '{}' is not supported; supported: default, linear, llama3", keys.source(),
         io::printable(*type));
  }
}

DType read_dtype(const Keys& keys) {
  std::optional<std::string> name = keys.string("dtype");
  if (!name) name = keys.string("torch_dtype");
  if (!name || *name == "float32") return DType::kF32;
  if (*name == "bfloat16") return DType::kBF16;
  if (*name == "float16") return DType::kF16;
  fail("{}: dtype '{}' is not supported; supported: float32, bfloat16, float16", keys.source(),
       io::printable(*name));
}

void read_token_ids(const Keys& keys, ModelSpec& spec) {
  const auto id = [&](const char* key, const json& value) {
    return int32_t(keys.as_integer(key, value, 0, SpecLimits::kVocab));
  };
  if (const json* bos = keys.find("bos_token_id")) spec.bos_id = id("bos_token_id", *bos);
  const json* eos = keys.find("eos_token_id");
  if (!eos) return;
  if (!eos->is_array()) {
    spec.eos_ids = {id("eos_token_id", *eos)};
    return;
  }
  for (const json& value : *eos) spec.eos_ids.push_back(id("eos_token_id", value));
}

}  // namespace

std::vector<LayerSpec> llama_layers(const LayerSizes& sizes, std::string_view source) {
  if (sizes.layers < 1 || sizes.layers > SpecLimits::kLayers) {
    fail("{}: the number of layers is {}, expected 1 to {}", source, sizes.layers,
         SpecLimits::kLayers);
  }
  LayerSpec layer;
  layer.attention.heads = sizes.heads;
  layer.attention.kv_heads = sizes.kv_heads;
  layer.attention.head_dim = sizes.head_dim;
  layer.mlp.width = sizes.ffn;
  layer.norms = kPreNorms;
  return std::vector<LayerSpec>(size_t(sizes.layers), layer);
}

ModelSpec parse_config(std::string_view text, std::string_view source) {
  const json root = io::parse_json(text, source);
  const Keys keys(root, source);
  check_architecture(keys);
  check_switches(keys);

  ModelSpec spec;
  LayerSizes sizes;
  spec.architecture = kArchitecture;
  spec.hidden = keys.integer("hidden_size", 1, SpecLimits::kWidth);
  sizes.ffn = keys.integer("intermediate_size", 1, SpecLimits::kFfn);
  sizes.layers = keys.integer("num_hidden_layers", 1, SpecLimits::kLayers);
  sizes.heads = keys.integer("num_attention_heads", 1, SpecLimits::kWidth);
  sizes.kv_heads = keys.integer("num_key_value_heads", 1, SpecLimits::kWidth, sizes.heads);
  spec.vocab = keys.integer("vocab_size", 1, SpecLimits::kVocab);
  // The defaults from here on are those of transformers' LlamaConfig.
  spec.max_position = keys.integer("max_position_embeddings", 1, SpecLimits::kPosition, 2048);
  spec.rms_eps = float(keys.positive("rms_norm_eps", 1e-6));
  spec.tied_head = keys.boolean("tie_word_embeddings", false);
  if (!keys.find("head_dim") && spec.hidden % sizes.heads != 0) {
    fail(
        "{}: hidden_size {} is not a multiple of num_attention_heads {}, and head_dim is not given",
        source, spec.hidden, sizes.heads);
  }
  sizes.head_dim = keys.integer("head_dim", 1, SpecLimits::kWidth, spec.hidden / sizes.heads);
  spec.layers = llama_layers(sizes, source);
  spec.dtype = read_dtype(keys);
  read_rope(keys, spec);
  read_token_ids(keys, spec);
  check_spec(spec, source);
  return spec;
}

}  // namespace tessera::lora
