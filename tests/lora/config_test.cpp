// config.json: both spellings that transformers writes, and everything that has to be refused.
#include "lora/model/families.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "runtime/io/file.h"
#include "tests/expect_error.h"

namespace tessera::lora {
namespace {

using nlohmann::json;
using testing::expect_error;

json llama() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"hidden_size", 64},
          {"intermediate_size", 172},
          {"num_hidden_layers", 5},
          {"num_attention_heads", 8},
          {"num_key_value_heads", 4},
          {"vocab_size", 512},
          {"max_position_embeddings", 256},
          {"rms_norm_eps", 1e-5},
          {"tie_word_embeddings", true},
          {"bos_token_id", 1},
          {"eos_token_id", 2},
          {"torch_dtype", "bfloat16"}};
}

ModelSpec parse(const json& config) { return parse_config(config.dump(), "config.json"); }

json with(std::initializer_list<std::pair<const char*, json>> changes) {
  json config = llama();
  for (const auto& [key, value] : changes) config[key] = value;
  return config;
}

json without(const char* key) {
  json config = llama();
  config.erase(key);
  return config;
}

template <class... Parts>
void refuse(const json& config, Parts&&... parts) {
  expect_error([&] { parse(config); }, "config.json: ", parts...);
}

TEST(Config, ReadsEveryField) {
  const ModelSpec config = parse(llama());
  EXPECT_EQ(config.architecture, "LlamaForCausalLM");
  EXPECT_EQ(config.hidden, 64);
  EXPECT_EQ(config.layers.front().mlp.width, 172);
  EXPECT_EQ(config.layer_count(), 5);
  EXPECT_EQ(config.layers.front().attention.heads, 8);
  EXPECT_EQ(config.layers.front().attention.kv_heads, 4);
  EXPECT_EQ(config.layers.front().attention.head_dim, 8);
  EXPECT_EQ(config.vocab, 512);
  EXPECT_EQ(config.max_position, 256);
  EXPECT_EQ(config.rms_eps, 1e-5f);
  EXPECT_EQ(config.ropes, (std::vector<Rope>{{.dims = 8, .theta = 10000.0}}));
  EXPECT_TRUE(config.tied_head);
  EXPECT_EQ(config.dtype, DType::kBF16);
  EXPECT_EQ(config.bos_id, 1);
  EXPECT_EQ(config.eos_ids, std::vector<int32_t>{2});
}

TEST(Config, TakesTheDefaultsOfTransformers) {
  const ModelSpec config = parse({{"model_type", "llama"},
                                  {"hidden_size", 64},
                                  {"intermediate_size", 172},
                                  {"num_hidden_layers", 5},
                                  {"num_attention_heads", 8},
                                  {"num_key_value_heads", nullptr},
                                  {"head_dim", nullptr},
                                  {"rope_scaling", nullptr},
                                  {"eos_token_id", nullptr},
                                  {"vocab_size", 512}});
  EXPECT_EQ(config.layers.front().attention.kv_heads, 8);
  EXPECT_EQ(config.layers.front().attention.head_dim, 8);
  EXPECT_EQ(config.max_position, 2048);
  EXPECT_EQ(config.rms_eps, 1e-6f);
  EXPECT_EQ(config.ropes.front().theta, 10000.0);
  EXPECT_FALSE(config.tied_head);
  EXPECT_EQ(config.bos_id, 1);
  EXPECT_TRUE(config.eos_ids.empty());  // null is none
  EXPECT_EQ(parse(without("eos_token_id")).eos_ids, std::vector<int32_t>{2});
}

TEST(Config, ReadsBothSpellingsOfTheRotarySettings) {
  const json llama3 = {{"rope_type", "llama3"},
                       {"factor", 32.0},
                       {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 8192}};
  json nested = llama3;
  nested["rope_theta"] = 500000.0;
  for (const json& config : {with({{"rope_theta", 500000}, {"rope_scaling", llama3}}),
                             with({{"rope_parameters", nested}})}) {
    const ModelSpec read = parse(config);
    EXPECT_EQ(read.ropes.front().theta, 500000.0);
    EXPECT_EQ(read.ropes.front().scaling.kind, RopeScaling::Kind::kLlama3);
    EXPECT_EQ(read.ropes.front().scaling.factor, 32.0);
    EXPECT_EQ(read.ropes.front().scaling.low_freq_factor, 1.0);
    EXPECT_EQ(read.ropes.front().scaling.high_freq_factor, 4.0);
    EXPECT_EQ(read.ropes.front().scaling.original_max_position, 8192);
  }
  for (const char* key : {"type", "rope_type"}) {
    const ModelSpec read = parse(with({{"rope_scaling", {{key, "linear"}, {"factor", 2}}}}));
    EXPECT_EQ(read.ropes.front().scaling.kind, RopeScaling::Kind::kLinear);
    EXPECT_EQ(read.ropes.front().scaling.factor, 2.0);
  }
  const ModelSpec plain =
      parse(with({{"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 100000.0}}}}));
  EXPECT_EQ(plain.ropes.front().scaling.kind, RopeScaling::Kind::kNone);
  EXPECT_EQ(plain.ropes.front().theta, 100000.0);
  const ModelSpec both = parse(with({{"rope_parameters", {{"rope_type", "default"}}},
                                     {"rope_scaling", {{"rope_type", "linear"}, {"factor", 2}}}}));
  EXPECT_EQ(both.ropes.front().scaling.kind, RopeScaling::Kind::kLinear);
}

TEST(Config, RefusesBadRotarySettings) {
  const auto scaling = [](json value) { return with({{"rope_scaling", std::move(value)}}); };
  refuse(scaling({{"rope_type", "proportional"}, {"factor", 2}}), "'proportional'",
         "default, linear, dynamic, llama3, yarn, longrope");
  refuse(scaling({{"type", "mrope"}, {"factor", 2}}), "'mrope'");
  refuse(scaling({{"rope_type", "yarn"}}), "factor is missing");
  refuse(scaling({{"rope_type", "yarn"}, {"factor", 2}, {"rope_theta", 1}}), "base above 1");
  refuse(scaling({{"rope_type", "yarn"}, {"factor", 2}, {"attention_factor", 0}}),
         "attention_factor is 0");
  refuse(scaling({{"rope_type", "longrope"}, {"long_factor", {1, 1, 1, 1}}}),
         "short_factor is missing");
  refuse(scaling({{"rope_type", "longrope"}, {"short_factor", 1}}), "a list of numbers");
  refuse(scaling({{"rope_type", "linear"}}), "factor is missing");
  refuse(scaling({{"rope_type", "linear"}, {"factor", 0}}), "factor is 0");
  refuse(scaling({{"rope_type", "linear"}, {"factor", "2"}}), "factor is \"2\"");
  refuse(scaling({{"rope_type", "llama3"}, {"factor", 8}}), "low_freq_factor is missing");
  refuse(scaling({{"rope_type", "llama3"},
                  {"factor", 8},
                  {"low_freq_factor", 4},
                  {"high_freq_factor", 4},
                  {"original_max_position_embeddings", 8192}}),
         "is not below");
  refuse(scaling("linear"), "rope_scaling is \"linear\", expected an object");
  refuse(with({{"rope_parameters", 7}}), "rope_parameters is 7, expected an object");
  refuse(with({{"rope_theta", -1}}), "rope_theta is -1");
  refuse(with({{"rope_parameters", {{"partial_rotary_factor", 0.5}}}}), "partial_rotary_factor");
  refuse(with({{"partial_rotary_factor", 0.5}}), "partial_rotary_factor");
}

TEST(Config, RefusesOtherModels) {
  refuse(with({{"architectures", {"NobodysForCausalLM"}}}), "'NobodysForCausalLM' is not supported",
         "supported: LlamaForCausalLM, Mistral");
  refuse(with({{"architectures", {"Qwen2ForCausalLM"}}}), "Qwen2ForCausalLM",
         "not of model_type 'llama'");
  refuse(with({{"architectures", {"LlamaForSequenceClassification"}}}), "not supported");
  refuse(with({{"architectures", {"LlamaForCausalLM", "Other"}}}), "not supported");
  refuse(with({{"architectures", json::array()}}), "not supported");
  refuse(with({{"architectures", "LlamaForCausalLM"}}), "not supported");
  refuse(with({{"architectures", {7}}}), "not supported");
  refuse(with({{"model_type", "mistral"}}), "'mistral'");
  json nameless = without("model_type");
  nameless.erase("architectures");
  refuse(nameless, "neither architectures nor model_type");
  refuse(with({{"architectures", {std::string(100'000, 'x') + "\n"}}}), "...");
}

TEST(Config, RefusesWhatTheDecoderDoesNotDo) {
  refuse(with({{"quantization_config", {{"quant_method", "awq"}}}}), "quantized by awq",
         "original");
  refuse(with({{"quantization_config", "awq"}}), "quantization_config is \"awq\"", "an object");
  refuse(with({{"is_causal", false}}), "is_causal is false");
  refuse(with({{"use_bidirectional_attention", true}}), "use_bidirectional_attention is true");
  refuse(with({{"per_layer_config", {{"1", {{"sliding_window", 2}}}}}}), "per_layer_config");
  EXPECT_NO_THROW(parse(with({{"is_causal", true}, {"per_layer_config", nullptr}})));
  refuse(with({{"hidden_act", "gelu"}}), "hidden_act is 'gelu'", "silu");
  refuse(with({{"torch_dtype", "float8_e4m3fn"}}), "'float8_e4m3fn'", "bfloat16");
  refuse(with({{"dtype", "float64"}}), "'float64'");
  EXPECT_NO_THROW(parse(with({{"quantization_config", nullptr}, {"mlp_bias", false}})));
  EXPECT_EQ(parse(with({{"dtype", "float16"}})).dtype, DType::kF16);
}

TEST(Config, RefusesBadSizes) {
  for (const char* key : {"hidden_size", "intermediate_size", "num_hidden_layers",
                          "num_attention_heads", "vocab_size"}) {
    refuse(without(key), key, "is missing");
    for (const json& bad : {json(0), json(-1), json(1.5), json("8"), json(true), json(INT64_MIN),
                            json(int64_t{1} << 40), json(UINT64_MAX), json(1e300), json::array({8}),
                            json::object()}) {
      refuse(with({{key, bad}}), key, "expected an integer from 1");
    }
  }
  refuse(with({{"num_key_value_heads", 3}}), "8 heads are not a multiple of 3 kv heads");
  refuse(with({{"num_key_value_heads", 16}}), "kv heads is 16");
  refuse(with({{"num_attention_heads", 7}, {"num_key_value_heads", 7}}), "hidden_size 64",
         "num_attention_heads 7");
  refuse(with({{"head_dim", 7}}), "7 of 7 dimensions", "need pairs");
  refuse(with({{"head_dim", 1 << 20}}), "heads times head size");
  refuse(with({{"rms_norm_eps", 0}}), "rms_norm_eps is 0");
  refuse(with({{"rms_norm_eps", 1e-60}}), "epsilon");  // zero as a float
  refuse(with({{"max_position_embeddings", 0}}), "max_position_embeddings is 0");
  refuse(with({{"tie_word_embeddings", 1}}), "tie_word_embeddings is 1", "true or false");
  // A number too large even for 64 bits is not rounded into range.
  std::string text = llama().dump();
  text.replace(text.find("\"vocab_size\":512"), 16, "\"vocab_size\":18446744073709551616");
  expect_error([&] { parse_config(text, "config.json"); }, "vocab_size is");
}

TEST(Config, ReadsAndRefusesTokenIds) {
  EXPECT_EQ(parse(with({{"eos_token_id", {128001, 128008}}})).eos_ids,
            (std::vector<int32_t>{128001, 128008}));
  refuse(with({{"eos_token_id", "2"}}), "eos_token_id");
  EXPECT_EQ(parse(with({{"eos_token_id", {2, -1}}})).eos_ids, std::vector<int32_t>{2});
  EXPECT_TRUE(parse(with({{"eos_token_id", -1}})).eos_ids.empty());
  EXPECT_EQ(parse(with({{"bos_token_id", -1}})).bos_id, -1);
  refuse(with({{"eos_token_id", -2}}), "eos_token_id is -2");
  refuse(with({{"bos_token_id", int64_t{1} << 33}}), "bos_token_id");
}

TEST(Config, ThePaddingIsARowOfTheEmbedding) {
  EXPECT_EQ(parse(llama()).pad_id, -1);
  EXPECT_EQ(parse(with({{"pad_token_id", 511}})).pad_id, 511);
  EXPECT_EQ(parse(with({{"pad_token_id", -1}})).pad_id, 511);  // as torch counts
  refuse(with({{"pad_token_id", 512}}), "pad_token_id is 512", "-1 to 511");
}

TEST(Config, RefusesWhatIsNoObject) {
  refuse(json::array(), "expected a JSON object");
  expect_error([] { parse_config("{", "config.json"); }, "config.json: invalid JSON");
  expect_error([] { parse_config("", "config.json"); }, "config.json: invalid JSON");
}

TEST(Config, ReadsRealFiles) {
  const std::string folder = TESSERA_SHARED_DIR "/configs/";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << folder << " is not there";
  const auto read = [&](const std::string& name) {
    return parse_config(io::read_file(folder + name, 1 << 20), name);
  };
  const ModelSpec big = read("Llama-3.1-8B-Instruct.config.json");
  EXPECT_EQ(big.hidden, 4096);
  EXPECT_EQ(big.layers.front().attention.kv_heads, 8);
  EXPECT_EQ(big.layers.front().attention.head_dim, 128);
  EXPECT_EQ(big.ropes.front().scaling.kind, RopeScaling::Kind::kLlama3);
  EXPECT_EQ(big.eos_ids.size(), 3u);
  const ModelSpec small = read("Llama-3.2-1B-Instruct.config.json");
  EXPECT_EQ(small.ropes.front().scaling.factor, 32.0);
  EXPECT_TRUE(small.tied_head);
  EXPECT_EQ(small.dtype, DType::kBF16);
  const ModelSpec qwen3 = read("Qwen3-1.7B.config.json");
  EXPECT_EQ(qwen3.layers.front().attention.qk_norm, QkNorm::kPerHead);
  EXPECT_EQ(qwen3.ropes.front().theta, 1e6);
  const ModelSpec qwen2 = read("Qwen2.5-0.5B-Instruct.config.json");
  EXPECT_TRUE(qwen2.layers.front().attention.qkv_bias);
  EXPECT_EQ(qwen2.layers.back().attention.window, 0);  // use_sliding_window is false
  const ModelSpec gemma = read("gemma2-2b-it.config.json");
  EXPECT_EQ(gemma.layers[0].attention.window, 4096);
  EXPECT_EQ(gemma.layers[1].attention.window, 0);
  EXPECT_EQ(gemma.logit_softcap, 30.0);
  const ModelSpec mistral = read("Mistral-7B-Instruct-v0.3.config.json");
  EXPECT_EQ(mistral.architecture, "MistralForCausalLM");  // the file says the model_type only
  EXPECT_EQ(mistral.layers.front().attention.window, 0);
  // This one does not say what it is; transformers does not take it either.
  expect_error([&] { read("Llama-3.1-70B-Instruct.config.json"); }, "neither architectures");
}

}  // namespace
}  // namespace tessera::lora
