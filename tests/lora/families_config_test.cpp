// Configs of the families as they are published: the spec says what transformers makes of them. The
// numbers are transformers', see tests/golden/make_family_configs.py.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "lora/model/families.h"
#include "lora/model/tensors.h"
#include "runtime/io/json.h"
#include "tests/expect_error.h"

namespace tessera::lora {
namespace {

using nlohmann::json;
using testing::expect_error;

ModelSpec parse(const json& config) { return parse_config(config.dump(), "config.json"); }

/// Names and shapes of the tensors outside the layers, and of the first layer.
std::map<std::string, std::vector<int64_t>> tensors_with_first_layer(const ModelSpec& spec) {
  std::map<std::string, std::vector<int64_t>> found;
  for (const TensorRow& row : tensors_of(spec)) {
    if (row.layer < 1) found[row.name()] = row.shape;
  }
  return found;
}

std::string_view name_of_activation(Activation activation) {
  return activation == Activation::kSilu ? "silu" : "gelu_pytorch_tanh";
}

void expect_model(const ModelSpec& spec, const json& expected) {
  EXPECT_EQ(spec.hidden, expected["hidden"]);
  EXPECT_EQ(spec.vocab, expected["vocab"]);
  EXPECT_EQ(spec.max_position, expected["max_position"]);
  EXPECT_EQ(spec.rms_eps, expected["rms_eps"].get<float>());
  EXPECT_DOUBLE_EQ(spec.embedding_scale, expected["embedding_scale"]);
  EXPECT_DOUBLE_EQ(spec.logit_scale, expected["logit_scale"]);
  EXPECT_EQ(spec.logit_softcap, expected["logit_softcap"]);
  const std::map<std::string, std::vector<int64_t>> tensors = expected["tensors"];
  EXPECT_EQ(tensors_with_first_layer(spec), tensors);
}

void expect_layers(const ModelSpec& spec, const json& expected) {
  const std::vector<int64_t> windows = expected["windows"];
  const std::vector<bool> turns = expected["turns"];
  ASSERT_EQ(spec.layers.size(), windows.size());
  for (size_t i = 0; i < windows.size(); ++i) {
    const AttentionSpec& attention = spec.layers[i].attention;
    const MlpSpec& mlp = spec.layers[i].mlp;
    SCOPED_TRACE(i);
    EXPECT_EQ(attention.heads, expected["heads"]);
    EXPECT_EQ(attention.kv_heads, expected["kv_heads"]);
    EXPECT_EQ(attention.head_dim, expected["head_dim"]);
    EXPECT_EQ(attention.window, windows[i]);
    EXPECT_EQ(attention.softcap, expected["softcap"]);
    const double scale = attention.score_scale > 0 ? attention.score_scale
                                                   : 1 / std::sqrt(double(attention.head_dim));
    EXPECT_DOUBLE_EQ(scale, expected["score_scale"]);
    EXPECT_EQ(mlp.width, expected["width"]);
    EXPECT_EQ(name_of_activation(mlp.activation), expected["activation"].get<std::string>());
    EXPECT_EQ(spec.layers[i].residual_scale, expected["residual_scale"]);
    const int with_window = int(spec.ropes.size()) - 1;
    const int rope = windows[i] > 0 ? with_window : 0;
    EXPECT_EQ(attention.rope, turns[i] ? rope : AttentionSpec::kNoRope);
  }
}

void expect_ropes(const ModelSpec& spec, const json& expected) {
  const json& rules = expected["ropes"];
  ASSERT_EQ(spec.ropes.size(), rules.size());
  for (size_t i = 0; i < rules.size(); ++i) {
    const Rope& rope = spec.ropes[i];
    EXPECT_FLOAT_EQ(float(rope.attention_factor), rules[i]["attention_factor"].get<float>());
    EXPECT_EQ(rope.query_growth, expected.value("query_growth", 0.0));
    EXPECT_EQ(rope.query_period, expected.value("query_period", 1));
    for (const json& at : rules[i]["frequencies"]) {
      const std::vector<float> values = at["values"];
      const std::vector<float> ours = rope_frequencies(rope, at["length"].get<int64_t>());
      ASSERT_EQ(ours.size(), values.size());
      for (size_t j = 0; j < values.size(); ++j) {
        EXPECT_FLOAT_EQ(ours[j], values[j]) << "rule " << i << ", length " << at["length"];
      }
    }
  }
}

TEST(FamilyConfigs, SayWhatTransformersMakesOfThem) {
  const json cases = io::read_json_file(TESSERA_GOLDEN_DIR "/family_configs.json", 1 << 20);
  ASSERT_GT(cases.size(), 50u);
  for (const json& one : cases) {
    SCOPED_TRACE(one["name"].get<std::string>());
    const ModelSpec spec = parse(one["config"]);
    const json& expected = one["expected"];
    expect_model(spec, expected);
    expect_layers(spec, expected);
    expect_ropes(spec, expected);
  }
}

TEST(FamilyConfigs, EveryFamilyIsThere) {
  const json cases = io::read_json_file(TESSERA_GOLDEN_DIR "/family_configs.json", 1 << 20);
  for (const Family& family : families()) {
    const bool named = std::ranges::any_of(
        cases, [&](const json& one) { return one["config"]["model_type"] == family.model_type; });
    EXPECT_TRUE(named) << family.model_type;
  }
}

/// Of the families without a golden number of their own: what is in the spec besides.
json sizes_of(std::string_view model_type) {
  return {{"model_type", model_type}, {"hidden_size", 64},
          {"intermediate_size", 96},  {"num_hidden_layers", 4},
          {"num_attention_heads", 4}, {"num_key_value_heads", 2},
          {"vocab_size", 128},        {"max_position_embeddings", 256}};
}

json with(std::string_view model_type, const json& changes) {
  json config = sizes_of(model_type);
  config.update(changes);
  return config;
}

TEST(FamilyConfigs, GemmasNormsAddOneAndTheirEmbeddingScaleIsRounded) {
  for (const char* type : {"gemma", "gemma2", "gemma3_text"}) {
    const ModelSpec spec = parse(sizes_of(type));
    EXPECT_EQ(spec.norm_plus, 1.0f) << type;
    EXPECT_EQ(spec.embedding_scale, 8.0) << type;
    EXPECT_TRUE(spec.rounds_embedding_scale) << type;
  }
  const ModelSpec granite = parse(with("granite", {{"embedding_multiplier", 12}}));
  EXPECT_EQ(granite.norm_plus, 0.0f);
  EXPECT_FALSE(granite.rounds_embedding_scale);
}

TEST(FamilyConfigs, PairsOfRotaryDimensionsAreNeighboursInGlmOnly) {
  for (const Family& family : families()) {
    const ModelSpec spec = parse(sizes_of(family.model_type));
    EXPECT_EQ(spec.ropes.front().interleaved, family.model_type.starts_with("glm"))
        << family.model_type;
  }
}

/// The converters of llama.cpp that are subclasses of Llama's.
TEST(FamilyConfigs, RowsOfQAndKAreInPairsInTheGgufFilesOfFamiliesLikeLlama) {
  const std::set<std::string_view> paired = {"llama", "mistral", "ministral3", "smollm3",
                                             "granite"};
  for (const Family& family : families()) {
    const ModelSpec spec = parse(sizes_of(family.model_type));
    EXPECT_EQ(spec.layers.front().attention.interleaved_in_gguf, paired.contains(family.model_type))
        << family.model_type;
  }
}

TEST(FamilyConfigs, NamesOfNormsInGgufFiles) {
  const auto names = [](std::string_view type) {
    std::vector<std::string> found;
    const ModelSpec spec = parse(sizes_of(type));
    for (const NormName& norm : spec.layers.front().norms) {
      found.emplace_back(norm.gguf);
    }
    return found;
  };
  using Names = std::vector<std::string>;
  const Names sandwich = {"attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"};
  EXPECT_EQ(names("qwen3"), (Names{"attn_norm", "ffn_norm"}));
  EXPECT_EQ(names("gemma2"), sandwich);
  EXPECT_EQ(names("glm4"), sandwich);
  EXPECT_EQ(names("olmo3"), (Names{"post_attention_norm", "post_ffw_norm"}));
  EXPECT_EQ(names("exaone4"), names("olmo3"));
  EXPECT_EQ(names("seed_oss"), (Names{"attn_norm", "post_attention_norm"}));
}

TEST(FamilyConfigs, DropoutsOfSeedOssAreThoseOfTheClassUnlessTheyAreGiven) {
  const ModelSpec left_out = parse(sizes_of("seed_oss"));
  EXPECT_EQ(left_out.attention_dropout, 0.1);
  EXPECT_EQ(left_out.residual_dropout, 0.1);
  const ModelSpec given =
      parse(with("seed_oss", {{"attention_dropout", 0}, {"residual_dropout", 0.25}}));
  EXPECT_EQ(given.attention_dropout, 0.0);
  EXPECT_EQ(given.residual_dropout, 0.25);
}

/// All layers see everything, and turn only where there is no window.
TEST(FamilyConfigs, LayersOfExaone4) {
  const json all = {"full_attention", "full_attention", "full_attention", "full_attention"};
  for (const json& window : {json(nullptr), json(16)}) {
    const ModelSpec spec = parse(with(
        "exaone4",
        {{"layer_types", all}, {"sliding_window", window}, {"sliding_window_pattern", "LLLG"}}));
    for (const LayerSpec& layer : spec.layers) {
      EXPECT_EQ(layer.attention.window, 0);
      EXPECT_EQ(layer.attention.rope, window.is_null() ? 0 : AttentionSpec::kNoRope);
    }
  }
}

TEST(FamilyConfigs, AWrapperGivesItsTextModelAndWhatIsTheWholes) {
  json config = {{"architectures", {"Gemma3ForConditionalGeneration"}},
                 {"model_type", "gemma3"},
                 {"torch_dtype", "bfloat16"},
                 {"eos_token_id", {1, 106}},
                 {"pad_token_id", 7},  // of the text model counts only its own
                 {"tie_word_embeddings", false},
                 {"vision_config", json::object()},
                 {"text_config", with("gemma3_text", {{"eos_token_id", 7},
                                                      {"bos_token_id", 2},
                                                      {"final_logit_softcapping", 30.0},
                                                      {"torch_dtype", "float32"},
                                                      {"tie_word_embeddings", true}})}};
  const ModelSpec spec = parse(config);
  EXPECT_EQ(spec.architecture, "Gemma3ForConditionalGeneration");
  EXPECT_EQ(spec.prefix, "model.language_model.");
  EXPECT_EQ(spec.dtype, DType::kBF16);
  EXPECT_EQ(spec.eos_ids, (std::vector<int32_t>{1, 106}));
  EXPECT_EQ(spec.bos_id, 2);
  EXPECT_FALSE(spec.tied_head);
  EXPECT_EQ(spec.pad_id, 0);
  EXPECT_EQ(spec.logit_softcap, 0);  // the wrapper's class does not apply it
  const json llava = {{"model_type", "llava"}, {"text_config", {{"model_type", "llama"}}}};
  EXPECT_EQ(parse(llava).layer_count(), 32);  // of the class, for published ones say no sizes
  config["text_config"].erase("hidden_size");
  expect_error([&] { parse(config); }, "config.json: text_config: hidden_size is missing");
  config["text_config"] = 7;
  expect_error([&] { parse(config); }, "text_config is 7, expected an object");
  config.erase("text_config");
  expect_error([&] { parse(config); }, "text_config is missing");
  expect_error(
      [] {
        parse({{"model_type", "mistral3"}, {"text_config", sizes_of("mistral4")}});
      },
      "text_config: mistral4 has latent attention");
  expect_error(
      [] {
        parse({{"model_type", "llava"}, {"text_config", sizes_of("vicuna")}});
      },
      "model_type 'vicuna' is not supported");
}

/// As the classes of transformers 5.24 have it.
TEST(FamilyConfigs, WhatTiesTheHeadOfAWrapper) {
  const auto tied = [](const char* type, const char* text, const json& whole, const json& own) {
    json config = {{"model_type", type}, {"text_config", sizes_of(text)}};
    if (!whole.is_null()) config["tie_word_embeddings"] = whole;
    if (!own.is_null()) config["text_config"]["tie_word_embeddings"] = own;
    return parse(config).tied_head;
  };
  const json none;
  EXPECT_TRUE(tied("llava", "llama", false, true));
  EXPECT_TRUE(tied("llava", "llama", none, true));
  EXPECT_TRUE(tied("llava", "llama", true, false));
  EXPECT_FALSE(tied("llava", "llama", none, none));
  EXPECT_TRUE(tied("gemma3", "gemma3_text", none, false));
  EXPECT_FALSE(tied("gemma3", "gemma3_text", false, true));
  EXPECT_TRUE(tied("mistral3", "mistral", true, false));
  EXPECT_FALSE(tied("mistral3", "mistral", false, true));
}

/// Tokens of the class are none where the vocabulary does not have them.
TEST(FamilyConfigs, TokensOfTheClass) {
  using Ids = std::vector<int32_t>;
  const struct {
    const char* type;
    int32_t bos;
    Ids eos;
  } all[] = {{"llama", 1, {2}},
             {"mistral", 1, {2}},
             {"ministral", 1, {2}},
             {"ministral3", 1, {2}},
             {"qwen2", -1, {}},
             {"qwen3", -1, {}},
             {"gemma", 2, {1}},
             {"gemma2", 2, {1}},
             {"gemma3_text", 2, {1}},
             {"phi3", 1, {32000}},
             {"smollm3", 128000, {128001}},
             {"granite", 1, {2}},
             {"olmo2", -1, {50279}},
             {"olmo3", -1, {50279}},
             {"exaone4", 0, {2}},
             {"seed_oss", 0, {2}},
             {"glm", -1, {151329, 151336, 151338}},
             {"glm4", -1, {151329, 151336, 151338}}};
  for (const auto& [type, bos, eos] : all) {
    const ModelSpec large = parse(with(type, {{"vocab_size", 200000}}));
    EXPECT_EQ(large.bos_id, bos) << type;
    EXPECT_EQ(large.eos_ids, eos) << type;
    const ModelSpec small = parse(with(type, {{"vocab_size", 2}}));
    EXPECT_EQ(small.bos_id, bos < 2 ? bos : -1) << type;
    EXPECT_EQ(small.eos_ids, eos == Ids{1} ? eos : Ids{}) << type;
    EXPECT_LT(small.pad_id, 2) << type;
  }
}

TEST(FamilyConfigs, AreRefusedWithAWordOnWhatIsMissing) {
  expect_error([] { parse(sizes_of("mixtral")); },
               "config.json: mixtral is a mixture of experts, which this version cannot train; "
               "a related family that works: mistral");
  expect_error(
      [] {
        parse(with("qwen2_5_vl", {{"architectures", {"Qwen2_5_VLForConditionalGeneration"}}}));
      },
      "qwen2_5_vl has rotary positions in three dimensions");
  expect_error([] { parse(sizes_of("never_heard_of")); },
               "architecture 'never_heard_of' is not supported; supported: LlamaForCausalLM",
               "Gemma3ForConditionalGeneration");
}

TEST(FamilyConfigs, RefuseWhatTheDecoderDoesNotDo) {
  const auto refuse = [](const char* type, const json& changes, const char* part) {
    expect_error([&] { parse(with(type, changes)); }, "config.json: ", part);
  };
  refuse("gemma3_text", {{"use_bidirectional_attention", true}}, "use_bidirectional_attention");
  refuse("gemma3_text", {{"attn_logit_softcapping", 50.0}}, "attn_logit_softcapping");
  refuse("gemma2", {{"hidden_activation", "relu"}}, "hidden_activation is 'relu'");
  refuse("gemma2", {{"sliding_window", nullptr}}, "there is no window (sliding_window is null");
  refuse("qwen2",
         {{"sliding_window", 16},
          {"use_sliding_window", false},
          {"layer_types",
           {"full_attention", "sliding_attention", "full_attention", "full_attention"}}},
         "layer 1 is of type sliding_attention, and there is no window");
  refuse("granite", {{"logits_scaling", 1e-320}}, "scale of the logits is inf");
  refuse("granite", {{"embedding_multiplier", 1e300}}, "scale of the embedding");
  refuse("granite", {{"residual_multiplier", 1e-60}}, "scale of residuals");
  refuse("gemma2", {{"attn_logit_softcapping", 1e-60}}, "bound of attention scores");
  refuse("gemma2", {{"final_logit_softcapping", 1e60}}, "bound of the logits");
  refuse("gemma2", {{"query_pre_attn_scalar", 1e-320}}, "scale of attention scores");
  refuse("olmo3", {{"rope_scaling", 7}}, "rope_scaling is 7, expected an object");
  refuse("olmo3", {{"rope_parameters", {{"full_attention", 7}}}},
         "full_attention is 7, expected an object");
  refuse("qwen2", {{"layer_types", {"full_attention"}}}, "a list of 4 types");
  refuse("qwen2",
         {{"layer_types", {"full_attention", "full_attention", "full_attention", "chunked"}}},
         "layer_types has \"chunked\"");
  refuse("mistral", {{"sliding_window", 0}}, "sliding_window is 0");
  refuse("phi3", {{"resid_pdrop", 0.1}}, "resid_pdrop");
  refuse("phi3", {{"rope_scaling", {{"type", "linear"}, {"factor", 2}}}}, "longrope");
  refuse("phi3",
         {{"rope_scaling", {{"type", "longrope"}, {"short_factor", {1}}, {"long_factor", {1}}}}},
         "longrope has 1 factors");
  refuse("phi3",
         {{"rope_scaling", {{"type", "longrope"}, {"short_factor", {0}}, {"long_factor", {1}}}}},
         "short_factor is 0");
  refuse("smollm3", {{"no_rope_layers", {1, 1}}}, "no_rope_layers");
  refuse("smollm3", {{"no_rope_layers", {1, 1, 1, 2}}}, "no_rope_layers is 2");
  refuse("granite", {{"logits_scaling", 0}}, "logits_scaling is 0");
  refuse("exaone4", {{"sliding_window_pattern", "LLLG"}}, "sliding_window_pattern is \"LLLG\"");
  refuse("ministral3", {{"rope_parameters", {{"rope_type", "default"}}}}, "llama_4_scaling_beta");
  refuse("olmo3", {{"rope_parameters", {{"rope_type", "default"}}}},
         "neither full_attention nor sliding_attention");
  refuse("qwen3", {{"rope_parameters", {{"full_attention", {{"rope_type", "default"}}}}}},
         "full_attention alone");
  refuse("glm4", {{"partial_rotary_factor", 0.001}}, "no dimension of a head turns");
  for (const double factor : {1.5, 1e300}) {
    refuse("glm4", {{"partial_rotary_factor", factor}}, "expected at most 1");
  }
}

}  // namespace
}  // namespace tessera::lora
