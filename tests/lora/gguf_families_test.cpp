// GGUF files of every family that llama.cpp has: the metadata that its converter writes gives the
// spec of the Hugging Face config, and every tensor has the values of the folder.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "lora/model/checkpoint.h"
#include "lora/model/families.h"
#include "tests/expect_error.h"
#include "tests/gguf_builder.h"
#include "tests/scratch_folder.h"

namespace tessera::lora {
namespace {

using nlohmann::json;
using testing::expect_error;
using testing::GgufBuilder;
using testing::raw;

constexpr uint32_t kF32 = 0;                                  // of tensors
constexpr uint32_t kU32 = 4, kI32 = 5, kReal = 6, kBool = 7;  // of metadata

/// A config of a small model. Its numbers are float32 numbers, as those of metadata are.
json config_of(std::string_view model_type, const json& changes) {
  json config = {{"model_type", model_type},
                 {"hidden_size", 32},
                 {"intermediate_size", 48},
                 {"num_hidden_layers", 6},
                 {"num_attention_heads", 4},
                 {"num_key_value_heads", 2},
                 {"head_dim", 8},
                 {"vocab_size", 24},
                 {"max_position_embeddings", 64},
                 {"rms_norm_eps", 0.0009765625},
                 {"rope_theta", 10000},
                 {"bos_token_id", 1},
                 {"pad_token_id", 4},
                 {"eos_token_id", {2, 3}}};
  config.update(changes);
  return config;
}

/// What the converter writes for every family.
GgufBuilder metadata_of(const std::string& name, const json& config) {
  GgufBuilder builder;
  builder.text("general.architecture", name);
  const auto number = [&](const char* gguf, const char* key) {
    builder.u32(name + "." + gguf, config[key].get<uint32_t>());
  };
  number("block_count", "num_hidden_layers");
  number("context_length", "max_position_embeddings");
  number("embedding_length", "hidden_size");
  number("feed_forward_length", "intermediate_size");
  number("attention.head_count", "num_attention_heads");
  number("attention.head_count_kv", "num_key_value_heads");
  number("attention.key_length", "head_dim");
  number("attention.value_length", "head_dim");
  builder.f32(name + ".attention.layer_norm_rms_epsilon", config["rms_norm_eps"].get<float>());
  builder.u32("tokenizer.ggml.bos_token_id", 1).u32("tokenizer.ggml.padding_token_id", 4);
  builder.u32("tokenizer.ggml.eos_token_id", 2).u32("tokenizer.ggml.eot_token_id", 3);
  return builder;
}

/// Of the tensor's whole name, so that no two tensors of a model can be taken for each other.
float value_of(const TensorRow& row, int64_t i) {
  const auto seed = int64_t(std::hash<std::string>()(row.gguf) >> 16);
  return float((i * (seed % 89 + 1) + seed / 89 % 997) % 997) / 8;
}

/// The tensor as the converter stores it: rows of q and k in pairs, norms with what it adds.
void add_tensor(const TensorRow& row, GgufBuilder& builder) {
  const int64_t rows = row.shape.front();
  const int64_t cols = row.shape.size() > 1 ? row.shape.back() : 1;
  const int64_t head_dim = row.interleaved_heads ? rows / row.interleaved_heads : 0;
  std::string bytes(size_t(rows * cols) * sizeof(float), '\0');
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t within = head_dim ? r % head_dim : 0;
    const int64_t half = head_dim / 2;
    const int64_t to = head_dim ? r - within + within % half * 2 + within / half : r;
    for (int64_t c = 0; c < cols; ++c) {
      const std::string value = raw(value_of(row, r * cols + c) + row.gguf_plus);
      bytes.replace(size_t(to * cols + c) * sizeof(float), sizeof(float), value);
    }
  }
  std::vector<uint64_t> dims(row.shape.rbegin(), row.shape.rend());
  builder.tensor(row.gguf, dims, kF32, bytes);
}

std::string described(const Rope& rope) {
  const RopeScaling& s = rope.scaling;
  return fmt::format("{} of {} {} {} {} {} {} {} {} {} {} {} {} {} {} {}", rope.dims, rope.theta,
                     int(s.kind), s.factor, s.low_freq_factor, s.high_freq_factor,
                     s.original_max_position, s.beta_fast, s.beta_slow, s.truncate, s.short_factors,
                     s.long_factors, float(rope.attention_factor), rope.interleaved,
                     rope.query_growth, rope.query_period);
}

std::string described(const LayerSpec& layer) {
  const AttentionSpec& a = layer.attention;
  std::string text = fmt::format(
      "{}/{} {} scale {} window {} cap {} rope {} bias {}{} fused {} norm {} pairs {}; {} {} {} "
      "{}; "
      "{}",
      a.heads, a.kv_heads, a.head_dim, a.score_scale, a.window, a.softcap, a.rope, a.qkv_bias,
      a.o_bias, a.fused, int(a.qk_norm), a.interleaved_in_gguf, layer.mlp.width,
      int(layer.mlp.activation), layer.mlp.bias, layer.mlp.fused, layer.residual_scale);
  for (const NormName& norm : layer.norms) text += fmt::format(" {}", norm.hf);
  return text;
}

std::string described(const ModelSpec& spec) {
  std::string text = fmt::format(
      "{} {} {} {} {} eps {} plus {} embedding {} {} logits {} {} tied {} bos {} eos {} pad {} "
      "{}\n",
      spec.architecture, spec.prefix, spec.hidden, spec.vocab, spec.max_position, spec.rms_eps,
      spec.norm_plus, spec.embedding_scale, spec.rounds_embedding_scale, spec.logit_scale,
      spec.logit_softcap, spec.tied_head, spec.bos_id, spec.eos_ids, spec.pad_id,
      name_of(spec.dtype));
  for (const LayerSpec& layer : spec.layers) text += described(layer) + "\n";
  for (const Rope& rope : spec.ropes) text += described(rope) + "\n";
  return text;
}

class GgufFamilies : public ::testing::Test {
 protected:
  /// A file with the metadata and with the tensors of the config's model.
  Checkpoint open(GgufBuilder builder, const ModelSpec& spec) {
    for (const TensorRow& row : tensors_of(spec)) add_tensor(row, builder);
    return Checkpoint::open(folder_.write("model.gguf", builder.build()));
  }

  /// The file is the model of the config, which is of `architecture`.
  void expect_same(const GgufBuilder& builder, const json& config) {
    const ModelSpec spec = parse_config(config.dump(), "config.json");
    const Checkpoint file = open(builder, spec);
    EXPECT_EQ(described(file.spec()), described(spec));
    EXPECT_EQ(described(parse_config(file.config(), "config.json")), described(spec));
    for (const TensorRow& row : tensors_of(spec)) {
      std::vector<float> values(size_t(file.info(row.name()).numel()));
      file.read_f32(row.name(), values);
      for (size_t i = 0; i < values.size(); ++i) {
        ASSERT_EQ(values[i], value_of(row, int64_t(i))) << row.name() << " element " << i;
      }
    }
  }

  testing::ScratchFolder folder_;
};

TEST_F(GgufFamilies, LlamaWithBiases) {
  const json config = config_of("llama", {{"attention_bias", true}, {"mlp_bias", true}});
  expect_same(metadata_of("llama", config), config);
}

TEST_F(GgufFamilies, Mistral) {
  const json config = config_of("mistral", {{"sliding_window", nullptr}, {"rope_theta", 1000000}});
  expect_same(metadata_of("mistral3", config).f32("mistral3.rope.freq_base", 1e6f), config);
}

TEST_F(GgufFamilies, Ministral3) {
  const json rope = {{"rope_type", "yarn"},
                     {"factor", 4},
                     {"rope_theta", 1000000},
                     {"beta_fast", 32},
                     {"beta_slow", 1},
                     {"mscale", 1},
                     {"mscale_all_dim", 1},
                     {"original_max_position_embeddings", 16},
                     {"llama_4_scaling_beta", 0.125}};
  const json config = config_of("ministral3", {{"rope_parameters", rope}});
  GgufBuilder builder = metadata_of("mistral3", config).f32("mistral3.rope.freq_base", 1e6f);
  builder.text("mistral3.rope.scaling.type", "yarn").f32("mistral3.rope.scaling.factor", 4);
  builder.u32("mistral3.rope.scaling.original_context_length", 16);
  builder.f32("mistral3.rope.scaling.yarn_beta_fast", 32);
  builder.f32("mistral3.rope.scaling.yarn_beta_slow", 1);
  builder.f32("mistral3.rope.scaling.yarn_log_multiplier", 1);
  builder.f32("mistral3.attention.temperature_scale", 0.125f);
  expect_same(builder, config);
}

TEST_F(GgufFamilies, Qwen2And3) {
  json config = config_of("qwen2", {{"rope_theta", 1000000}, {"tie_word_embeddings", true}});
  expect_same(metadata_of("qwen2", config).f32("qwen2.rope.freq_base", 1e6f), config);
  config = config_of("qwen3", {{"rope_theta", 1000000}});
  expect_same(metadata_of("qwen3", config).f32("qwen3.rope.freq_base", 1e6f), config);
}

TEST_F(GgufFamilies, Gemma2) {
  const json config = config_of("gemma2", {{"sliding_window", 16},
                                           {"attn_logit_softcapping", 40},
                                           {"final_logit_softcapping", nullptr},
                                           {"query_pre_attn_scalar", 8}});
  GgufBuilder builder = metadata_of("gemma2", config).u32("gemma2.attention.sliding_window", 16);
  builder.f32("gemma2.attn_logit_softcapping", 40).f32("gemma2.final_logit_softcapping", 0);
  expect_same(builder, config);
}

/// The largest models scale scores by the hidden size, which their number of layers tells.
TEST_F(GgufFamilies, Gemma2Of27B) {
  const json config = config_of(
      "gemma2",
      {{"num_hidden_layers", 46}, {"head_dim", 16}, {"query_pre_attn_scalar", 8}});  // 32 / 4
  expect_same(metadata_of("gemma2", config), config);
}

TEST_F(GgufFamilies, Gemma3) {
  json config = config_of("gemma3_text", {{"sliding_window", 16},
                                          {"query_pre_attn_scalar", 8},
                                          {"rope_theta", 1000000},
                                          {"rope_local_base_freq", 10000},
                                          {"rope_scaling", {{"type", "linear"}, {"factor", 8}}}});
  GgufBuilder builder = metadata_of("gemma3", config).u32("gemma3.attention.sliding_window", 16);
  builder.f32("gemma3.rope.freq_base", 1e6f).text("gemma3.rope.scaling.type", "linear");
  builder.f32("gemma3.rope.scaling.factor", 8);
  expect_same(builder, config);
  config = config_of("gemma3_text", {{"sliding_window_pattern", 1}, {"query_pre_attn_scalar", 8}});
  expect_same(metadata_of("gemma3", config), config);  // without windows
}

TEST_F(GgufFamilies, Phi3) {
  const json rope = {
      {"type", "longrope"}, {"short_factor", {1.25, 1.5}}, {"long_factor", {2.25, 3.5}}};
  const json config = config_of("phi3", {{"partial_rotary_factor", 0.5},
                                         {"sliding_window", 20},
                                         {"original_max_position_embeddings", 16},
                                         {"rope_scaling", rope}});
  GgufBuilder builder = metadata_of("phi3", config).u32("phi3.attention.sliding_window", 20);
  builder.u32("phi3.rope.dimension_count", 4);
  builder.u32("phi3.rope.scaling.original_context_length", 16);
  GgufBuilder other = builder;
  builder.tensor("rope_factors_long.weight", {2}, kF32, raw(2.25f) + raw(3.5f));
  builder.tensor("rope_factors_short.weight", {2}, kF32, raw(1.25f) + raw(1.5f));
  builder.f32("phi3.rope.scaling.attn_factor", std::sqrt(1.5f));  // 1 + ln 4 / ln 16
  expect_same(builder, config);
  json plain = config;
  plain.erase("rope_scaling");
  expect_same(other, plain);
  other.tensor("rope_factors_long.weight", {2}, kF32, std::string(8, '\0'));
  other.tensor("rope_factors_short.weight", {2}, kF32, std::string(8, '\0'));
  const ModelSpec spec = parse_config(plain.dump(), "config.json");
  expect_error([&] { open(other, spec); }, "short_factor is 0");
}

TEST_F(GgufFamilies, SmolLm3) {
  const json config = config_of("smollm3", {{"rope_theta", 2000000}});
  expect_same(metadata_of("smollm3", config).f32("smollm3.rope.freq_base", 2e6f), config);
}

TEST_F(GgufFamilies, Granite) {
  const json config = config_of("granite", {{"attention_multiplier", 0.015625},
                                            {"embedding_multiplier", 12},
                                            {"residual_multiplier", 0.25},
                                            {"logits_scaling", 8}});
  GgufBuilder builder = metadata_of("granite", config).f32("granite.embedding_scale", 12);
  builder.f32("granite.residual_scale", 0.25f).f32("granite.logit_scale", 8);
  GgufBuilder less = builder;
  expect_same(builder.f32("granite.attention.scale", 0.015625f), config);
  const ModelSpec spec = parse_config(config.dump(), "config.json");
  expect_error([&] { open(less, spec); }, "'granite.attention.scale' is missing");
}

TEST_F(GgufFamilies, Olmo2And3) {
  json config = config_of("olmo2", {{"rope_theta", 500000}});
  GgufBuilder builder = metadata_of("olmo2", config).f32("olmo2.rope.freq_base", 5e5f);
  expect_same(builder, config);
  const json yarn = {{"rope_type", "yarn"},
                     {"factor", 4},
                     {"attention_factor", 1.25},
                     {"original_max_position_embeddings", 16}};
  json types = json::array();
  std::string pattern;
  for (const bool slides : {false, true, true, false, true, false}) {
    types.push_back(slides ? "sliding_attention" : "full_attention");
    pattern += char(slides);
  }
  config = config_of("olmo3", {{"rope_theta", 500000},
                               {"sliding_window", 16},
                               {"layer_types", types},
                               {"rope_scaling", yarn}});
  builder.u32("olmo2.attention.sliding_window", 16);
  builder.array("olmo2.attention.sliding_window_pattern", kBool, 6, pattern);
  builder.text("olmo2.rope.scaling.type", "yarn").f32("olmo2.rope.scaling.factor", 4);
  builder.f32("olmo2.rope.scaling.yarn_attn_factor", 1.25f);
  builder.u32("olmo2.rope.scaling.original_context_length", 16);
  expect_same(builder, config);
}

/// A file without a window is of a model whose layers all see everything, and turn.
TEST_F(GgufFamilies, Exaone4) {
  json config = config_of("exaone4", {{"sliding_window", nullptr}, {"rope_theta", 1000000}});
  GgufBuilder builder = metadata_of("exaone4", config).f32("exaone4.rope.freq_base", 1e6f);
  expect_same(builder, config);
  config["sliding_window"] = 16;
  builder.u32("exaone4.attention.sliding_window", 16);
  expect_same(builder, config);  // every fourth layer sees everything
  config["layer_types"] = json::array();
  std::string pattern;
  for (const bool slides : {false, true, true, false, true, true}) {
    config["layer_types"].push_back(slides ? "sliding_attention" : "full_attention");
    pattern += char(slides);
  }
  builder.array("exaone4.attention.sliding_window_pattern", kBool, 6, pattern);
  expect_same(builder, config);
}

TEST_F(GgufFamilies, SeedOss) {
  for (const bool biases : {false, true}) {
    const json config =
        config_of("seed_oss", {{"attention_bias", biases}, {"rope_theta", 10000000}});
    expect_same(metadata_of("seed_oss", config).f32("seed_oss.rope.freq_base", 1e7f), config);
  }
}

TEST_F(GgufFamilies, Glm4) {
  for (const bool bias : {false, true}) {
    const json config = config_of("glm4", {{"attention_bias", bias}});
    expect_same(metadata_of("glm4", config).u32("glm4.rope.dimension_count", 4), config);
  }
}

TEST_F(GgufFamilies, Glm) {
  for (const bool bias : {false, true}) {
    const json config = config_of("glm", {{"attention_bias", bias}, {"rope_theta", 5000000}});
    GgufBuilder builder = metadata_of("chatglm", config).f32("chatglm.rope.freq_base", 5e6f);
    expect_same(builder.u32("chatglm.rope.dimension_count", 4), config);
  }
}

/// A file that was made of a ChatGLM has q, k and v of a layer in one tensor.
TEST_F(GgufFamilies, GlmWithFusedProjections) {
  const json config = config_of("glm", json::object());
  const ModelSpec spec = parse_config(config.dump(), "config.json");
  GgufBuilder builder = metadata_of("chatglm", config).u32("chatglm.rope.dimension_count", 4);
  std::map<std::string, std::string> fused;  // of q, k and v, which come in this order
  for (const TensorRow& row : tensors_of(spec)) {
    if (row.gguf.find(".attn_q.") == std::string::npos &&
        row.gguf.find(".attn_k.") == std::string::npos &&
        row.gguf.find(".attn_v.") == std::string::npos) {
      add_tensor(row, builder);
      continue;
    }
    std::string& bytes = fused[fmt::format("blk.{}.attn_qkv.{}", row.layer, row.parameter)];
    const int64_t values = row.shape.front() * (row.shape.size() > 1 ? row.shape.back() : 1);
    for (int64_t i = 0; i < values; ++i) bytes += raw(value_of(row, i));
  }
  for (const auto& [name, bytes] : fused) {
    if (name.ends_with("weight")) builder.tensor(name, {32, 64}, kF32, bytes);
    if (name.ends_with("bias")) builder.tensor(name, {64}, kF32, bytes);
  }
  const Checkpoint file = Checkpoint::open(folder_.write("model.gguf", builder.build()));
  EXPECT_EQ(described(file.spec()), described(spec));
  for (const TensorRow& row : tensors_of(spec)) {
    std::vector<float> values(size_t(file.info(row.name()).numel()));
    file.read_f32(row.name(), values);
    for (size_t i = 0; i < values.size(); ++i) {
      ASSERT_EQ(values[i], value_of(row, int64_t(i))) << row.name() << " element " << i;
    }
  }
}

/// The converter writes the hidden size for a number of positions that it does not find.
TEST_F(GgufFamilies, GlmWithTheConstantsOfTheConverter) {
  const json config = config_of("glm", {{"max_position_embeddings", 32}});
  const ModelSpec spec = parse_config(config.dump(), "config.json");
  GgufBuilder builder = metadata_of("chatglm", config).u32("chatglm.rope.dimension_count", 4);
  const std::string notes = fmt::format("{}", fmt::join(open(builder, spec).notes(), "\n"));
  EXPECT_NE(notes.find("missed chatglm.attention.layer_norm_rms_epsilon (0.0009765625) and "
                       "chatglm.rope.freq_base (10000), too"),
            std::string::npos)
      << notes;
}

/// Adds what llama.cpp's saver writes into every file, with the values that mean nothing.
GgufBuilder with_neutral_metadata(GgufBuilder builder, const std::string& name) {
  const auto add = [&](const char* key, uint32_t type, const std::string& bytes) {
    const std::string full = name + "." + key;
    if (builder.pairs.find(full + raw(type)) == std::string::npos) builder.pair(full, type, bytes);
  };
  const auto zero_or = [&](const char* key, float value) { add(key, kReal, raw(value)); };
  for (const char* key : {"expert_count", "nextn_predict_layers", "attention.sliding_window"}) {
    add(key, kU32, raw(0u));
  }
  for (const char* key :
       {"logit_scale", "residual_scale", "embedding_scale", "attention.scale",
        "attention.temperature_scale", "rope.scaling.factor", "rope.scaling.yarn_log_multiplier"}) {
    zero_or(key, 0);
  }
  if (name != "gemma2") zero_or("attn_logit_softcapping", 0);
  if (name != "gemma2") zero_or("final_logit_softcapping", 0);
  for (const char* key : {"rope.scaling.attn_factor", "rope.scaling.yarn_attn_factor",
                          "rope.scaling.yarn_beta_slow"}) {
    zero_or(key, 1);
  }
  zero_or("rope.scaling.yarn_beta_fast", 32);
  zero_or("rope.freq_base", 10000);
  zero_or("rope.freq_base_swa", 10000);
  add("attention.key_length_swa", kU32, raw(8u));
  add("attention.value_length_swa", kU32, raw(8u));
  const uint32_t turns = name == "glm4" || name == "chatglm" ? 4 : 8;
  add("rope.dimension_count", kU32, raw(turns));
  add("rope.dimension_count_swa", kU32, raw(turns));
  add("rope.scaling.original_context_length", kU32, raw(64u));
  add("attention.causal", kBool, raw('\1'));
  add("rope.scaling.finetuned", kBool, raw(char(name == "granite")));
  builder.text(name + ".rope.scaling.type", "linear");
  builder.array(name + ".rope.dimension_sections", kI32, 4, std::string(16, '\0'));
  return builder;
}

TEST_F(GgufFamilies, NeutralMetadataChangeNothing) {
  for (const Family& family : families()) {
    if (family.gguf.empty()) continue;
    SCOPED_TRACE(family.model_type);
    const std::string name(family.gguf);
    const json config = config_of(family.model_type, json::object());
    const ModelSpec model = parse_config(config.dump(), "config.json");
    GgufBuilder builder = metadata_of(name, config);
    if (family.model_type == "ministral3") builder.f32(name + ".attention.temperature_scale", 0.5f);
    if (family.model_type == "granite") builder.f32("granite.attention.scale", 0.25f);
    if (family.model_type == "olmo3") builder.u32("olmo2.attention.sliding_window", 16);
    if (family.model_type.starts_with("glm")) builder.u32(name + ".rope.dimension_count", 4);
    const std::string expected = described(open(builder, model).spec());
    EXPECT_NE(expected.find(std::string(family.architecture)), std::string::npos) << expected;
    EXPECT_EQ(described(open(with_neutral_metadata(builder, name), model).spec()), expected);
  }
}

/// The windows of layers are flags, of either type, or a number of layers of which the last has
/// none.
TEST_F(GgufFamilies, EverySpellingOfTheLayersWithAWindow) {
  for (const char* type : {"gemma2", "gemma3_text", "olmo3", "exaone4"}) {
    SCOPED_TRACE(type);
    const std::string name(find_family(&Family::model_type, type)->gguf);
    const std::string key = name + ".attention.sliding_window_pattern";
    const json config = config_of(type, json::object());
    const ModelSpec model = parse_config(config.dump(), "config.json");
    const GgufBuilder base = metadata_of(name, config).u32(name + ".attention.sliding_window", 16);
    const auto windows_of = [&](const GgufBuilder& builder) {
      std::string windows;
      const std::vector<LayerSpec> layers = open(builder, model).spec().layers;
      for (const LayerSpec& layer : layers) {
        windows += layer.attention.window == 16 ? 'w' : '-';
      }
      return windows;
    };
    std::string bytes, words;
    for (const bool slides : {true, false, false, true, true, false}) {
      bytes += char(slides);
      words += raw(uint32_t(slides));
    }
    GgufBuilder builder = base;
    EXPECT_EQ(windows_of(builder.array(key, kBool, 6, bytes)), "w--ww-");
    builder = base;
    EXPECT_EQ(windows_of(builder.array(key, kU32, 6, words)), "w--ww-");
    builder = base;
    EXPECT_EQ(windows_of(builder.u32(key, 3)), "ww-ww-");
    builder = base;
    EXPECT_EQ(windows_of(builder.u32(key, 0)), "wwwwww");
    builder = base;
    builder.array(key, kBool, 6, std::string(6, '\2'));
    expect_error([&] { open(builder, model); }, "boolean 2, not 0 or 1");
  }
}

TEST_F(GgufFamilies, RefusesMetadataOfTheFamilyWithOtherValues) {
  const auto refuse = [&](const char* type, const char* key, uint32_t value_type,
                          const std::string& bytes) {
    const std::string name(find_family(&Family::model_type, type)->gguf);
    const json config = config_of(type, json::object());
    GgufBuilder builder = metadata_of(name, config)
                              .u32(name + ".attention.sliding_window", name == "granite" ? 0 : 16);
    if (std::string_view(key) != "attention.scale") builder.f32(name + ".attention.scale", 0.25f);
    builder.pair(name + "." + key, value_type, bytes);
    const ModelSpec model = parse_config(config.dump(), "config.json");
    expect_error([&] { open(builder, model); }, name + "." + key + " is ", "not supported");
  };
  refuse("granite", "rope.scaling.finetuned", kBool, raw('\0'));
  refuse("granite", "attention.scale", kReal, raw(0.0f));
  refuse("gemma2", "rope.freq_base_swa", kReal, raw(5000.0f));
  refuse("exaone4", "rope.freq_base_swa", kReal, raw(5000.0f));
}

TEST_F(GgufFamilies, RefusesWhatTheFamilyHasNot) {
  const json config = config_of("qwen3", json::object());
  const ModelSpec spec = parse_config(config.dump(), "config.json");
  const GgufBuilder good = metadata_of("qwen3", config);
  const auto refuse = [&](GgufBuilder builder, const char* part) {
    expect_error([&] { open(builder, spec); }, folder_.file("model.gguf"), part);
  };
  GgufBuilder bad = good;
  refuse(bad.u32("qwen3.attention.sliding_window", 16), "qwen3.attention.sliding_window is 16");
  bad = good;
  refuse(bad.u32("qwen3.nextn_predict_layers", 1), "qwen3.nextn_predict_layers is 1");
  bad = good;
  const std::string sections = raw(int32_t{0}) + raw(int32_t{4});
  refuse(bad.array("qwen3.rope.dimension_sections", 5, 2, sections), "several dimensions");
  bad = good;
  refuse(bad.u32("qwen3.rope.dimension_count", 9), "dimension_count is 9, expected 1 to 8");
  bad = good;
  refuse(bad.f32("qwen3.rope.freq_base", INFINITY), "is not a finite number");
  bad = good;
  refuse(bad.text("qwen3.rope.scaling.type", "longrope"), "'rope_factors_long.weight'");
}

}  // namespace
}  // namespace tessera::lora
