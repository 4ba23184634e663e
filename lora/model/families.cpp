#include "lora/model/families.h"

#include <algorithm>
#include <optional>

#include "runtime/core/error.h"
#include "runtime/io/json.h"
#include "runtime/io/printable.h"

namespace tessera::lora {
namespace {

using nlohmann::json;

constexpr NormName kPreNorms[] = {
    {NormSite::kBeforeAttention, "input_layernorm", "attn_norm"},
    {NormSite::kBeforeMlp, "post_attention_layernorm", "ffn_norm"},
};

/// Error for a checkpoint whose weights are quantized already.
void check_original(const ConfigKeys& keys) {
  if (!keys.find("quantization_config")) return;
  fail(
      "{}: quantization_config is present, the checkpoint is already quantized; give the "
      "original 16- or 32-bit checkpoint, which is quantized while it is loaded",
      keys.source());
}

void check_switches(const ConfigKeys& keys) {
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

void check_rotates_all(const ConfigKeys& keys) {
  if (keys.positive("partial_rotary_factor", 1.0) == 1.0) return;
  fail("{}: partial_rotary_factor other than 1 is not supported", keys.source());
}

/// The settings under rope_scaling, or under rope_parameters as transformers 5 writes them. It
/// takes the former where both are there.
void read_rope(const ConfigKeys& keys, ModelSpec& spec) {
  spec.rope_theta = keys.positive("rope_theta", spec.rope_theta);
  check_rotates_all(keys);
  const json* nested = keys.find("rope_scaling");
  if (!nested) nested = keys.find("rope_parameters");
  if (!nested) return;
  const ConfigKeys rope(*nested, keys.source());
  spec.rope_theta = rope.positive("rope_theta", spec.rope_theta);
  check_rotates_all(rope);
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

void read_token_ids(const ConfigKeys& keys, ModelSpec& spec) {
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

void write_token_ids(const ModelSpec& spec, json& config) {
  if (spec.bos_id >= 0) config["bos_token_id"] = spec.bos_id;
  if (spec.eos_ids.size() == 1) config["eos_token_id"] = spec.eos_ids.front();
  if (spec.eos_ids.size() > 1) config["eos_token_id"] = spec.eos_ids;
}

json rope_scaling_json(const RopeScaling& scaling) {
  switch (scaling.kind) {
    case RopeScaling::Kind::kNone:
      return nullptr;
    case RopeScaling::Kind::kLinear:
      return {{"rope_type", "linear"}, {"factor", scaling.factor}};
    case RopeScaling::Kind::kLlama3:
      return {{"rope_type", "llama3"},
              {"factor", scaling.factor},
              {"low_freq_factor", scaling.low_freq_factor},
              {"high_freq_factor", scaling.high_freq_factor},
              {"original_max_position_embeddings", scaling.original_max_position}};
  }
  return nullptr;
}

std::vector<LayerSpec> llama_layers(const LayerSizes& sizes) {
  LayerSpec layer;
  layer.attention.heads = sizes.heads;
  layer.attention.kv_heads = sizes.kv_heads;
  layer.attention.head_dim = sizes.head_dim;
  layer.attention.interleaved_in_gguf = true;
  layer.mlp.width = sizes.ffn;
  layer.norms = kPreNorms;
  return std::vector<LayerSpec>(size_t(sizes.layers), layer);
}

// The families, a reader and a writer each.

/// The defaults from max_position_embeddings on are those of transformers' LlamaConfig.
ModelSpec read_llama(const ConfigKeys& keys) {
  check_switches(keys);
  ModelSpec spec;
  LayerSizes sizes;
  spec.hidden = keys.integer("hidden_size", 1, SpecLimits::kWidth);
  sizes.ffn = keys.integer("intermediate_size", 1, SpecLimits::kFfn);
  sizes.layers = keys.integer("num_hidden_layers", 1, SpecLimits::kLayers);
  sizes.heads = keys.integer("num_attention_heads", 1, SpecLimits::kWidth);
  sizes.kv_heads = keys.integer("num_key_value_heads", 1, SpecLimits::kWidth, sizes.heads);
  spec.vocab = keys.integer("vocab_size", 1, SpecLimits::kVocab);
  spec.max_position = keys.integer("max_position_embeddings", 1, SpecLimits::kPosition, 2048);
  spec.rms_eps = float(keys.positive("rms_norm_eps", 1e-6));
  spec.tied_head = keys.boolean("tie_word_embeddings", false);
  if (!keys.find("head_dim") && spec.hidden % sizes.heads != 0) {
    fail(
        "{}: hidden_size {} is not a multiple of num_attention_heads {}, and head_dim is not given",
        keys.source(), spec.hidden, sizes.heads);
  }
  sizes.head_dim = keys.integer("head_dim", 1, SpecLimits::kWidth, spec.hidden / sizes.heads);
  spec.layers = llama_layers(sizes);
  spec.dtype = read_dtype(keys);
  read_rope(keys, spec);
  read_token_ids(keys, spec);
  const json* dropout = keys.find("attention_dropout");
  if (dropout && *dropout != 0) spec.attention_dropout = keys.positive("attention_dropout");
  return spec;
}

json write_llama(const ModelSpec& spec) {
  const LayerSpec& layer = spec.layers.front();
  json config = {{"hidden_act", "silu"},
                 {"hidden_size", spec.hidden},
                 {"intermediate_size", layer.mlp.width},
                 {"num_hidden_layers", spec.layer_count()},
                 {"num_attention_heads", layer.attention.heads},
                 {"num_key_value_heads", layer.attention.kv_heads},
                 {"head_dim", layer.attention.head_dim},
                 {"vocab_size", spec.vocab},
                 {"max_position_embeddings", spec.max_position},
                 {"rms_norm_eps", double(spec.rms_eps)},
                 {"rope_theta", spec.rope_theta},
                 {"rope_scaling", rope_scaling_json(spec.rope_scaling)},
                 {"attention_bias", false},
                 {"mlp_bias", false},
                 {"tie_word_embeddings", spec.tied_head},
                 {"torch_dtype", name_of(spec.dtype)}};
  write_token_ids(spec, config);
  return config;
}

constexpr Family kFamilies[] = {
    {"LlamaForCausalLM", "llama", "llama", read_llama, write_llama, llama_layers},
};

std::string names_of(std::string_view Family::*name) {
  std::string names;
  for (const Family& family : kFamilies) {
    names.append(names.empty() ? "" : ", ").append(family.*name);
  }
  return names;
}

/// The family that `architectures` names, and model_type where that is left out.
const Family& family_of(const ConfigKeys& keys) {
  const auto refuse = [&](const std::string& name) {
    fail("{}: architecture '{}' is not supported; supported: {}", keys.source(),
         io::printable(name), names_of(&Family::architecture));
  };
  const std::optional<std::string> model_type = keys.string("model_type");
  const json* names = keys.find("architectures");
  if (!names && !model_type) {
    fail("{}: neither architectures nor model_type is given", keys.source());
  }
  const bool one = names && names->is_array() && names->size() == 1 && names->front().is_string();
  if (names && !one) refuse(names->dump());
  const Family* family = names
                             ? find_family(&Family::architecture, names->front().get<std::string>())
                             : find_family(&Family::model_type, *model_type);
  if (!family) refuse(names ? names->front().get<std::string>() : *model_type);
  if (model_type && *model_type != family->model_type) refuse(*model_type);
  return *family;
}

}  // namespace

const Family* find_family(std::string_view Family::*name, std::string_view value) {
  const auto found = std::ranges::find(kFamilies, value, name);
  return found == std::end(kFamilies) ? nullptr : found;
}

const Family& family_of_gguf(std::string_view architecture, std::string_view source) {
  if (const Family* family = find_family(&Family::gguf, architecture)) return *family;
  fail("{}: architecture '{}' is not supported; supported: {}", source, io::printable(architecture),
       names_of(&Family::gguf));
}

ModelSpec parse_config(std::string_view text, std::string_view source) {
  const json root = io::parse_json(text, source);
  const ConfigKeys keys(root, source);
  check_original(keys);
  const Family& family = family_of(keys);
  ModelSpec spec = family.read(keys);
  spec.architecture = family.architecture;
  check_spec(spec, source);
  return spec;
}

std::string config_text(const ModelSpec& spec) {
  const Family* family = find_family(&Family::architecture, spec.architecture);
  TESSERA_CHECK(family != nullptr);
  json config = family->write(spec);
  config["architectures"] = json::array({family->architecture});
  config["model_type"] = family->model_type;
  return config.dump(2) + "\n";
}

}  // namespace tessera::lora
