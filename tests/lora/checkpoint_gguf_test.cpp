// GGUF models: the same values as transformers loads, under the same names, and others refused.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "lora/model/checkpoint.h"
#include "runtime/io/gguf_blocks.h"
#include "runtime/io/safetensors.h"
#include "tests/expect_error.h"
#include "tests/gguf_builder.h"
#include "tests/scratch_folder.h"

namespace tessera::lora {
namespace {

using io::SafetensorsEntry;
using testing::expect_error;
using testing::GgufBuilder;
using testing::raw;
using testing::ScratchFolder;

constexpr int64_t kHidden = 8, kFfn = 12, kHeads = 2, kKvHeads = 1, kHeadDim = 4, kVocab = 6;

std::vector<float> values(const Checkpoint& checkpoint, const std::string& name) {
  std::vector<float> out(size_t(checkpoint.info(name).numel()));
  checkpoint.read_f32(name, out);
  return out;
}

constexpr uint32_t kF32 = 0, kIQ2_XXS = 16;
constexpr uint32_t kBool = 7, kI64 = 11;  // of metadata

GgufBuilder gguf_metadata() {
  GgufBuilder builder;
  builder.text("general.architecture", "llama").u32("llama.block_count", 1);
  builder.u32("llama.context_length", 64).u32("llama.embedding_length", kHidden);
  builder.u32("llama.feed_forward_length", kFfn).u32("llama.attention.head_count", kHeads);
  builder.u32("llama.attention.head_count_kv", kKvHeads);
  builder.f32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  return builder;
}

/// The tensors in F32, numbered 0, 1, 2, ... in each.
GgufBuilder& add_tensors(GgufBuilder& builder, bool head = true, uint64_t head_dim = kHeadDim) {
  const auto add = [&](const std::string& name, const std::vector<uint64_t>& dims) {
    uint64_t count = 1;
    for (const uint64_t extent : dims) count *= extent;
    std::string bytes;
    for (uint64_t i = 0; i < count; ++i) bytes += raw(float(i));
    builder.tensor(name, dims, kF32, bytes);
  };
  const uint64_t c = kHidden, f = kFfn, q = kHeads * head_dim, kv = kKvHeads * head_dim;
  add("token_embd.weight", {c, kVocab});
  add("blk.0.attn_norm.weight", {c});
  add("blk.0.attn_q.weight", {c, q});
  add("blk.0.attn_k.weight", {c, kv});
  add("blk.0.attn_v.weight", {c, kv});
  add("blk.0.attn_output.weight", {q, c});
  add("blk.0.ffn_norm.weight", {c});
  add("blk.0.ffn_gate.weight", {c, f});
  add("blk.0.ffn_up.weight", {c, f});
  add("blk.0.ffn_down.weight", {f, c});
  add("output_norm.weight", {c});
  if (head) add("output.weight", {c, kVocab});
  return builder;
}

class GgufModel : public ::testing::Test {
 protected:
  Checkpoint open_model(const GgufBuilder& builder) {
    return Checkpoint::open(folder_.write("model.gguf", builder.build()));
  }
  template <class... Parts>
  void refuse_model(const GgufBuilder& builder, Parts&&... parts) {
    expect_error([&] { open_model(builder); }, folder_.file("model.gguf"), parts...);
  }

  ScratchFolder folder_;
};

TEST_F(GgufModel, AgreesWithTransformersToTheBit) {
  const Checkpoint checkpoint = Checkpoint::open(TESSERA_GOLDEN_DIR "/gguf/tiny.gguf");
  const io::SafetensorsFile golden(TESSERA_GOLDEN_DIR "/gguf/tiny.safetensors");
  ASSERT_EQ(checkpoint.tensors().size(), golden.entries().size());
  for (const SafetensorsEntry& entry : golden.entries()) {
    ASSERT_EQ(checkpoint.info(entry.name).shape, entry.shape);
    std::vector<float> expected(entry.bytes / sizeof(float));
    golden.read(entry, std::as_writable_bytes(std::span(expected)));
    EXPECT_EQ(values(checkpoint, entry.name), expected) << entry.name;
  }
  EXPECT_EQ(checkpoint.info("model.layers.0.self_attn.k_proj.weight").dtype, DType::kF16);
  EXPECT_EQ(checkpoint.info("model.layers.0.self_attn.o_proj.weight").dtype, DType::kBF16);
  EXPECT_EQ(checkpoint.info("model.layers.0.self_attn.q_proj.weight").dtype, DType::kF32);
  EXPECT_EQ(checkpoint.spec().ropes.front().theta, 5000.0);
  EXPECT_EQ(checkpoint.spec().rms_eps, 1e-6f);
  EXPECT_EQ(checkpoint.spec().layers.front().attention.head_dim, 8);
  EXPECT_EQ(checkpoint.spec().bos_id, 1);
  EXPECT_EQ(checkpoint.spec().eos_ids, std::vector<int32_t>{2});
}

TEST_F(GgufModel, ReadsSixteenBitsAsStoredInHuggingFaceOrder) {
  const Checkpoint checkpoint = Checkpoint::open(TESSERA_GOLDEN_DIR "/gguf/tiny.gguf");
  const std::string name = "model.layers.0.self_attn.k_proj.weight";
  const TensorInfo& info = checkpoint.info(name);
  std::vector<uint16_t> stored(size_t(info.numel()));
  checkpoint.read(name, std::as_writable_bytes(std::span(stored)));
  const std::vector<float> wide = values(checkpoint, name);
  for (size_t i = 0; i < wide.size(); ++i) EXPECT_EQ(to_float(f16{stored[i]}), wide[i]);
}

TEST_F(GgufModel, TakesAMissingHeadForATiedOne) {
  GgufBuilder builder = gguf_metadata();
  const Checkpoint checkpoint = open_model(add_tensors(builder, false));
  EXPECT_TRUE(checkpoint.spec().tied_head);
  EXPECT_EQ(checkpoint.spec().vocab, kVocab);
  EXPECT_EQ(values(checkpoint, "lm_head.weight"), values(checkpoint, "model.embed_tokens.weight"));
  builder = gguf_metadata();
  EXPECT_FALSE(open_model(add_tensors(builder)).spec().tied_head);
}

TEST_F(GgufModel, IsFoundInAFolder) {
  GgufBuilder builder = gguf_metadata();
  folder_.write("model.gguf", add_tensors(builder).build());
  EXPECT_EQ(Checkpoint::open(folder_.path()).tensors().size(), 12u);
  folder_.write("other.gguf", "");
  expect_error([&] { Checkpoint::open(folder_.path()); }, "2 .gguf files", "model.gguf");
}

TEST_F(GgufModel, RecognisesLlama3sRule) {
  const io::SafetensorsFile golden(TESSERA_GOLDEN_DIR "/gguf/blocks.safetensors");
  std::string factors(32 * sizeof(float), '\0');
  golden.read(*golden.find("llama3.factors"), std::as_writable_bytes(std::span(factors)));
  GgufBuilder builder = gguf_metadata();
  builder.f32("llama.rope.freq_base", 500000.0f).u32("llama.attention.key_length", 64);
  builder.u32("llama.attention.value_length", 64);
  add_tensors(builder, true, 64);
  GgufBuilder good = builder;
  good.tensor("rope_freqs.weight", {32}, kF32, factors);
  const ModelSpec read = open_model(good).spec();
  EXPECT_EQ(read.ropes.front().scaling.kind, RopeScaling::Kind::kLlama3);
  EXPECT_EQ(read.ropes.front().scaling.factor, 32.0);
  EXPECT_EQ(read.ropes.front().scaling.low_freq_factor, 1.0);
  EXPECT_EQ(read.ropes.front().scaling.high_freq_factor, 4.0);
  EXPECT_EQ(read.ropes.front().scaling.original_max_position, 8192);
  for (const size_t changed : {0, 15, 16, 17, 31}) {
    std::string others = factors;
    others.replace(changed * sizeof(float), sizeof(float), raw(2.0f));
    GgufBuilder bad = builder;
    bad.tensor("rope_freqs.weight", {32}, kF32, others);
    refuse_model(bad, "rope_freqs.weight", "Llama 3");
  }
  GgufBuilder other = builder;
  other.tensor("rope_freqs.weight", {3}, kF32, std::string(12, '\0'));
  refuse_model(other, "does not hold 32");
  other = builder;
  factors.replace(0, sizeof(float), raw(NAN));
  other.tensor("rope_freqs.weight", {32}, kF32, factors);
  refuse_model(other, "Llama 3");
}

TEST_F(GgufModel, ReadsRopeScaling) {
  GgufBuilder builder = gguf_metadata();
  builder.text("llama.rope.scaling.type", "linear").f32("llama.rope.scaling.factor", 4.0f);
  ModelSpec read = open_model(add_tensors(builder)).spec();
  EXPECT_EQ(read.ropes.front().scaling.kind, RopeScaling::Kind::kLinear);
  EXPECT_EQ(read.ropes.front().scaling.factor, 4.0);
  builder = gguf_metadata().f32("llama.rope.scale_linear", 2.0f);
  read = open_model(add_tensors(builder)).spec();
  EXPECT_EQ(read.ropes.front().scaling.factor, 2.0);
  builder = gguf_metadata().f32("llama.rope.scaling.factor", 4.0f);  // without a type
  builder.f32("llama.rope.scale_linear", 2.0f);
  read = open_model(add_tensors(builder)).spec();
  EXPECT_EQ(read.ropes.front().scaling.kind, RopeScaling::Kind::kLinear);
  EXPECT_EQ(read.ropes.front().scaling.factor, 4.0);
  builder = gguf_metadata().text("llama.rope.scaling.type", "none");
  builder.f32("llama.rope.scaling.factor", 4.0f);
  EXPECT_EQ(open_model(add_tensors(builder)).spec().ropes.front().scaling.kind,
            RopeScaling::Kind::kNone);
  builder = gguf_metadata().text("llama.rope.scaling.type", "other");
  refuse_model(add_tensors(builder), "'other'", "none, linear, yarn, longrope");
  builder = gguf_metadata().text("llama.rope.scaling.type", "linear");
  builder.f32("llama.rope.scaling.factor", -1.0f);
  refuse_model(add_tensors(builder), "not above zero");
  builder = gguf_metadata().f32("llama.rope.scaling.factor", 0).f32("llama.rope.scale_linear", 2);
  EXPECT_EQ(open_model(add_tensors(builder)).spec().ropes.front().scaling.kind,
            RopeScaling::Kind::kNone);
  for (const char* key : {"rope_factors_long.weight", "rope_factors_short.weight"}) {
    builder = gguf_metadata();
    add_tensors(builder).tensor(key, {2}, kF32, raw(3.0f) + raw(3.0f));
    refuse_model(builder, "'rope_factors_long.weight' or 'rope_factors_short.weight' is missing");
  }
}

/// llama.cpp multiplies by it, which no config says but for longrope and YaRN.
TEST_F(GgufModel, RefusesAFactorOfAttentionBesidesTheScalings) {
  for (const char* type : {"none", "linear", "yarn"}) {
    for (const float factor : {1.0f, 3.0f}) {
      GgufBuilder builder = gguf_metadata().text("llama.rope.scaling.type", type);
      builder.f32("llama.rope.scaling.factor", 4.0f).f32("llama.rope.scaling.attn_factor", factor);
      builder.f32("llama.rope.scaling.yarn_attn_factor", 1.0f);
      add_tensors(builder);
      const bool is_yarn = type == std::string_view("yarn");
      if (factor != 1 && !is_yarn) {
        refuse_model(builder, "llama.rope.scaling.attn_factor is 3");
        continue;
      }
      const double expected = is_yarn ? double(factor) * (0.1 * std::log(4.0) + 1) : 1.0;
      EXPECT_NEAR(open_model(builder).spec().ropes.front().attention_factor, expected, 1e-9);
    }
  }
}

TEST_F(GgufModel, RefusesOtherModels) {
  GgufBuilder builder;
  builder.text("general.architecture", "rwkv7");
  refuse_model(builder, "architecture 'rwkv7'", "supported: llama, mistral3, qwen2");
  refuse_model(GgufBuilder(), "'general.architecture' is missing");
  builder = gguf_metadata().u32("split.count", 3);
  refuse_model(add_tensors(builder), "llama-gguf-split --merge");
  builder = gguf_metadata().u32("llama.expert_count", 8);
  refuse_model(add_tensors(builder), "llama.expert_count is 8");
  for (const char* key :
       {"attention.key_length_swa", "attention.value_length_swa", "rope.dimension_count_swa"}) {
    builder = gguf_metadata().u32(std::string("llama.") + key, 4);
    EXPECT_NO_THROW(open_model(add_tensors(builder)));
    builder = gguf_metadata().u32(std::string("llama.") + key, 2);
    refuse_model(add_tensors(builder), key, "is 2");
  }
  builder = gguf_metadata().pair("llama.attention.causal", kBool, "\x01");
  EXPECT_NO_THROW(open_model(add_tensors(builder)));
  builder = gguf_metadata().pair("llama.attention.causal", kBool, std::string(1, '\0'));
  refuse_model(add_tensors(builder), "llama.attention.causal is false");
  builder = gguf_metadata().u32("llama.rope.dimension_count", 2);
  refuse_model(add_tensors(builder), "partial_rotary_factor other than 1");
}

TEST_F(GgufModel, RefusesBadMetadata) {
  GgufBuilder builder;
  builder.text("general.architecture", "llama").u32("llama.embedding_length", 0);
  refuse_model(builder, "'llama.feed_forward_length' is missing");
  builder = gguf_metadata();
  refuse_model(builder, "'token_embd.weight' is missing");
  // The values that gguf_metadata() writes, with one replaced.
  const auto changed = [](std::string_view key, uint32_t value) {
    GgufBuilder model = gguf_metadata();
    const size_t at = model.pairs.find(key) + key.size() + sizeof(uint32_t);
    model.pairs.replace(at, sizeof value, raw(value));
    return add_tensors(model);
  };
  refuse_model(changed("llama.embedding_length", 0), "hidden_size is 0");
  refuse_model(changed("llama.embedding_length", ~0u), "hidden_size is 4294967295");
  refuse_model(changed("llama.block_count", ~0u), "num_hidden_layers is 4294967295");
  refuse_model(changed("llama.block_count", 2), "'blk.1.attn_norm.weight' is missing");
  refuse_model(changed("llama.attention.head_count", 0), "0 attention heads");
  refuse_model(changed("llama.attention.head_count", ~0u), "num_attention_heads is 4294967295");
  refuse_model(changed("llama.attention.head_count_kv", 3), "kv heads");
  refuse_model(changed("llama.feed_forward_length", 13),
               "'model.layers.0.mlp.gate_proj.weight' has shape [12, 8]", "[13, 8]");
  builder = gguf_metadata().u32("tokenizer.ggml.eos_token_id", kVocab);
  builder.u32("tokenizer.ggml.eot_token_id", 2).u32("tokenizer.ggml.padding_token_id", ~0u);
  const Checkpoint odd = open_model(add_tensors(builder));  // llama.cpp warns as well
  EXPECT_EQ(odd.spec().eos_ids, std::vector<int32_t>{2});
  EXPECT_EQ(odd.spec().bos_id, -1);
  EXPECT_EQ(odd.spec().pad_id, -1);
  ASSERT_EQ(odd.notes().size(), 2u);
  EXPECT_NE(odd.notes()[0].find("padding_token_id is 4294967295"), std::string::npos);
  EXPECT_NE(odd.notes()[1].find("eos_token_id is 6, but the vocabulary has 6"), std::string::npos);
  for (const int64_t size : {INT64_MIN + 2, int64_t{0}, int64_t{1} << 62}) {
    builder = gguf_metadata().pair("llama.attention.key_length", kI64, raw(size));
    builder.pair("llama.attention.value_length", kI64, raw(size));
    add_tensors(builder).tensor("rope_freqs.weight", {1}, kF32, raw(1.0f));
    refuse_model(builder, "a head has the size");
  }
  builder = gguf_metadata().u32("llama.vocab_size", 7);
  refuse_model(add_tensors(builder), "has shape [6, 8], the config asks for [7, 8]");
}

TEST_F(GgufModel, RefusesForeignTensorsAndTypes) {
  GgufBuilder builder = gguf_metadata();
  add_tensors(builder).tensor("blk.0.attn_q.scale", {8}, kF32, std::string(32, '\0'));
  refuse_model(builder, "'blk.0.attn_q.scale' does not belong");
  builder = gguf_metadata();
  builder.tensor("token_embd.weight", {256, 1}, kIQ2_XXS, std::string(66, 'x'));
  const size_t at = builder.pairs.find("llama.embedding_length") + 22 + sizeof(uint32_t);
  builder.pairs.replace(at, 4, raw(256u));
  refuse_model(builder, "'token_embd.weight' is IQ2_XXS", io::decodable_names());
}

TEST(RealGguf, SmolLm2IsTheSameFromGgufAndFolder) {
  const char* folder = std::getenv("TESSERA_SMOLLM2_DIR");
  if (!folder || !std::filesystem::exists(std::string(folder) + "/hf")) {
    GTEST_SKIP() << "TESSERA_SMOLLM2_DIR names no folder with model.gguf and hf/, see "
                    "tests/golden/make_smollm2_hf.py";
  }
  const Checkpoint gguf = Checkpoint::open(std::string(folder) + "/model.gguf");
  const Checkpoint hf = Checkpoint::open(std::string(folder) + "/hf");
  ASSERT_EQ(gguf.tensors().size(), 272u);
  ASSERT_EQ(hf.tensors().size(), 272u);
  for (const TensorInfo& info : hf.tensors()) {
    const std::vector<float> a = values(gguf, info.name), b = values(hf, info.name);
    ASSERT_EQ(a.size(), b.size());
    EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)), 0) << info.name;
  }
  EXPECT_EQ(gguf.spec().rms_eps, hf.spec().rms_eps);
  EXPECT_EQ(gguf.spec().ropes.front().theta, hf.spec().ropes.front().theta);
  EXPECT_EQ(gguf.spec().eos_ids, hf.spec().eos_ids);
}

}  // namespace
}  // namespace tessera::lora
