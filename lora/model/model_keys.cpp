#include "lora/model/model_keys.h"

#include <algorithm>
#include <iterator>
#include <optional>

#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::lora {
namespace {

using nlohmann::json;

constexpr NormName kPreNorms[] = {
    {NormSite::kBeforeAttention, "input_layernorm", "attn_norm"},
    {NormSite::kBeforeMlp, "post_attention_layernorm", "ffn_norm"},
};

int64_t read_size(const ConfigKeys& keys, const char* key, int64_t max, int64_t otherwise) {
  return otherwise > 0 ? keys.integer(key, 1, max, otherwise) : keys.integer(key, 1, max);
}

/// The names are those of transformers' ACT2FN.
Activation read_activation(const ConfigKeys& keys, const ClassDefaults& of_class) {
  const char* key = of_class.activation_key;
  const std::string name = keys.string(key).value_or(std::string(of_class.activation));
  if (name == "silu" || name == "swish") return Activation::kSilu;
  if (name == "gelu_pytorch_tanh") return Activation::kGeluTanh;
  if (name == "gelu" && of_class.gelu_is_tanh) return Activation::kGeluTanh;
  fail("{}: {} is '{}', supported: silu, gelu_pytorch_tanh", keys.source(), key,
       io::printable(name));
}

DType read_dtype(const ConfigKeys& keys) {
  std::optional<std::string> name = keys.string("dtype");
  if (!name) name = keys.string("torch_dtype");
  if (!name) return DType::kF32;
  for (DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    if (*name == name_of(dtype)) return dtype;
  }
  fail("{}: dtype '{}' is not supported; supported: float32, bfloat16, float16", keys.source(),
       io::printable(*name));
}

/// Of one that has a row of the embedding, which torch counts from the end for -1.
int32_t read_pad_id(const ConfigKeys& keys, const ClassDefaults& of_class, const ModelSpec& spec) {
  const json* pad = keys.find("pad_token_id");
  if (!pad) {
    const bool none = keys.is_null("pad_token_id") || of_class.pad_id >= spec.vocab;
    return none ? -1 : of_class.pad_id;
  }
  const int64_t id = keys.as_integer("pad_token_id", *pad, -1, spec.vocab - 1);
  return int32_t(id < 0 ? spec.vocab - 1 : id);
}

/// -1 is none.
void read_token_ids(const ConfigKeys& keys, const ClassDefaults& of_class, ModelSpec& spec) {
  const auto id = [&](const char* key, const json& value) {
    return int32_t(keys.as_integer(key, value, -1, SpecLimits::kVocab));
  };
  if (const json* bos = keys.find("bos_token_id")) {
    spec.bos_id = id("bos_token_id", *bos);
  } else if (!keys.is_null("bos_token_id") && of_class.bos_id < spec.vocab) {
    spec.bos_id = of_class.bos_id;
  }
  spec.pad_id = read_pad_id(keys, of_class, spec);
  if (const json* eos = keys.find("eos_token_id")) {
    for (const json& value : eos->is_array() ? *eos : json::array({*eos})) {
      spec.eos_ids.push_back(id("eos_token_id", value));
    }
    std::erase(spec.eos_ids, -1);
  } else if (!keys.is_null("eos_token_id")) {
    std::ranges::copy_if(of_class.eos_ids, std::back_inserter(spec.eos_ids),
                         [&](int32_t of_class_id) { return of_class_id < spec.vocab; });
  }
}

/// What would change the attention of every family, or single layers.
void refuse_foreign(const ConfigKeys& keys) {
  const auto refuse = [&](const char* key, bool value) {
    fail("{}: {} is {}, which is not supported", keys.source(), key, value);
  };
  if (!keys.boolean("is_causal", true)) refuse("is_causal", false);
  if (keys.boolean("use_bidirectional_attention", false)) {
    refuse("use_bidirectional_attention", true);
  }
  if (keys.find("per_layer_config")) {
    fail("{}: per_layer_config is given, which is not supported", keys.source());
  }
}

int64_t read_head_dim(const ConfigKeys& keys, const ModelSpec& spec, int64_t heads,
                      int64_t otherwise) {
  const bool of_hidden = keys.is_null("head_dim") || (otherwise == 0 && !keys.find("head_dim"));
  if (of_hidden && spec.hidden % heads != 0) {
    fail(
        "{}: hidden_size {} is not a multiple of num_attention_heads {}, and head_dim is not given",
        keys.source(), spec.hidden, heads);
  }
  return keys.integer("head_dim", 1, SpecLimits::kWidth,
                      of_hidden ? spec.hidden / heads : otherwise);
}

bool slides(const ConfigKeys& keys, const json& layer_type) {
  if (layer_type == "sliding_attention") return true;
  if (layer_type == "full_attention") return false;
  fail("{}: layer_types has {}, supported: full_attention, sliding_attention", keys.source(),
       io::printable(layer_type.dump()));
}

}  // namespace

ModelSpec read_model(const ConfigKeys& keys, const ClassDefaults& of_class) {
  refuse_foreign(keys);
  ModelSpec spec;
  LayerSpec layer;
  AttentionSpec& attention = layer.attention;
  spec.hidden = keys.integer("hidden_size", 1, SpecLimits::kWidth);
  layer.mlp.width = keys.integer("intermediate_size", 1, SpecLimits::kFfn);
  const int64_t layers = keys.integer("num_hidden_layers", 1, SpecLimits::kLayers);
  attention.heads = read_size(keys, "num_attention_heads", SpecLimits::kWidth, of_class.heads);
  const bool as_heads = of_class.kv_heads == 0 || keys.is_null("num_key_value_heads");
  attention.kv_heads = keys.integer("num_key_value_heads", 1, SpecLimits::kWidth,
                                    as_heads ? attention.heads : of_class.kv_heads);
  spec.vocab = read_size(keys, "vocab_size", SpecLimits::kVocab, of_class.vocab);
  spec.max_position =
      keys.integer("max_position_embeddings", 1, SpecLimits::kPosition, of_class.max_position);
  spec.rms_eps = float(keys.positive("rms_norm_eps", of_class.rms_eps));
  spec.tied_head = keys.boolean("tie_word_embeddings", of_class.tied_head);
  attention.head_dim = read_head_dim(keys, spec, attention.heads, of_class.head_dim);
  layer.mlp.activation = read_activation(keys, of_class);
  layer.norms = kPreNorms;
  spec.layers.assign(size_t(layers), layer);
  spec.extra_layers = keys.integer("num_nextn_predict_layers", 0, SpecLimits::kLayers, 0);
  spec.dtype = read_dtype(keys);
  read_token_ids(keys, of_class, spec);
  spec.attention_dropout = keys.positive_or_zero("attention_dropout", 0.0);
  return spec;
}

int64_t read_window(const ConfigKeys& keys, int64_t otherwise) {
  if (keys.is_null("sliding_window")) return 0;
  return keys.integer("sliding_window", 1, SpecLimits::kPosition, otherwise);
}

void read_windows(const ConfigKeys& keys, int64_t window, FunctionRef<bool(int64_t)> by_class,
                  ModelSpec& spec) {
  const json* types = keys.find("layer_types");
  if (types && (!types->is_array() || int64_t(types->size()) != spec.layer_count())) {
    keys.wrong("layer_types", *types, fmt::format("a list of {} types", spec.layer_count()));
  }
  for (int64_t i = 0; i < spec.layer_count(); ++i) {
    if (!(types ? slides(keys, (*types)[size_t(i)]) : by_class(i))) continue;
    if (window == 0) {
      fail(
          "{}: layer {} is of type sliding_attention, and there is no window (sliding_window is "
          "null, or use_sliding_window false)",
          keys.source(), i);
    }
    spec.layers[size_t(i)].attention.window = window;
  }
}

void read_attention_bias(const ConfigKeys& keys, ModelSpec& spec) {
  const bool bias = keys.boolean("attention_bias", false);
  for (LayerSpec& layer : spec.layers) layer.attention.qkv_bias = layer.attention.o_bias = bias;
}

void read_biases(const ConfigKeys& keys, ModelSpec& spec) {
  read_attention_bias(keys, spec);
  const bool mlp = keys.boolean("mlp_bias", false);
  for (LayerSpec& layer : spec.layers) layer.mlp.bias = mlp;
}

double read_softcap(const ConfigKeys& keys, const char* key, double otherwise) {
  return keys.is_null(key) ? 0.0 : keys.positive(key, otherwise);
}

}  // namespace tessera::lora
