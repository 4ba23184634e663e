// The tensor table, and all that goes through it, for a Llama and for a made-up family whose layers
// have biases, norms of queries and keys, norms behind attention and MLP, and differ from each
// other.
#include "lora/model/tensors.h"

#include <gtest/gtest.h>

#include <set>

#include "lora/adapter/peft.h"
#include "lora/decoder/block.h"
#include "lora/model/base_weights.h"
#include "tests/expect_error.h"
#include "tests/scratch_folder.h"
#include "tests/spec.h"

namespace tessera::lora {
namespace {

constexpr NormName kPostNorms[] = {
    {NormSite::kAfterAttention, "post_attention_layernorm", "post_attention_norm"},
    {NormSite::kAfterMlp, "post_feedforward_layernorm", "post_ffw_norm"},
};

ModelSpec made_up() {
  ModelSpec spec = tessera::testing::llama_spec({.vocab = 96});
  spec.architecture = "MadeUpForCausalLM";
  spec.tied_head = true;
  for (LayerSpec& layer : spec.layers) {
    layer.norms = kPostNorms;
    layer.attention.qkv_bias = true;
    layer.attention.qk_norm = QkNorm::kPerHead;
  }
  LayerSpec& second = spec.layers[1];
  second.attention = {.heads = 3,
                      .kv_heads = 1,
                      .head_dim = 32,
                      .qkv_bias = true,
                      .o_bias = true,
                      .qk_norm = QkNorm::kWholeWidth};
  second.mlp = {.width = 60, .bias = true};
  return spec;
}

std::vector<std::string> described(const std::vector<TensorRow>& table) {
  std::vector<std::string> lines;
  for (const TensorRow& row : table) {
    lines.push_back(fmt::format(
        "{} {} [{}]{}", row.name(), row.gguf, fmt::join(row.shape, ","),
        row.interleaved_heads ? fmt::format(" {} heads", row.interleaved_heads) : std::string()));
  }
  return lines;
}

TEST(TensorTable, OfALlama) {
  ModelSpec spec = tessera::testing::llama_spec({.vocab = 96});
  spec.layers.resize(1);
  EXPECT_EQ(
      described(tensors_of(spec)),
      (std::vector<std::string>{
          "model.embed_tokens.weight token_embd.weight [96,48]",
          "model.layers.0.input_layernorm.weight blk.0.attn_norm.weight [48]",
          "model.layers.0.self_attn.q_proj.weight blk.0.attn_q.weight [64,48] 4 heads",
          "model.layers.0.self_attn.k_proj.weight blk.0.attn_k.weight [32,48] 2 heads",
          "model.layers.0.self_attn.v_proj.weight blk.0.attn_v.weight [32,48]",
          "model.layers.0.self_attn.o_proj.weight blk.0.attn_output.weight [48,64]",
          "model.layers.0.post_attention_layernorm.weight blk.0.ffn_norm.weight [48]",
          "model.layers.0.mlp.gate_proj.weight blk.0.ffn_gate.weight [100,48]",
          "model.layers.0.mlp.up_proj.weight blk.0.ffn_up.weight [100,48]",
          "model.layers.0.mlp.down_proj.weight blk.0.ffn_down.weight [48,100]",
          "model.norm.weight output_norm.weight [48]", "lm_head.weight output.weight [96,48]"}));
}

TEST(TensorTable, OfAFamilyWithOtherLayers) {
  const std::vector<std::string> lines = described(tensors_of(made_up()));
  const std::vector<std::string> second = {
      "model.layers.1.self_attn.q_proj.weight blk.1.attn_q.weight [96,48] 3 heads",
      "model.layers.1.self_attn.q_proj.bias blk.1.attn_q.bias [96] 3 heads",
      "model.layers.1.self_attn.k_proj.weight blk.1.attn_k.weight [32,48] 1 heads",
      "model.layers.1.self_attn.k_proj.bias blk.1.attn_k.bias [32] 1 heads",
      "model.layers.1.self_attn.v_proj.weight blk.1.attn_v.weight [32,48]",
      "model.layers.1.self_attn.v_proj.bias blk.1.attn_v.bias [32]",
      "model.layers.1.self_attn.o_proj.weight blk.1.attn_output.weight [48,96]",
      "model.layers.1.self_attn.o_proj.bias blk.1.attn_output.bias [48]",
      "model.layers.1.self_attn.q_norm.weight blk.1.attn_q_norm.weight [96]",
      "model.layers.1.self_attn.k_norm.weight blk.1.attn_k_norm.weight [32]",
      "model.layers.1.post_attention_layernorm.weight blk.1.post_attention_norm.weight [48]",
      "model.layers.1.mlp.gate_proj.weight blk.1.ffn_gate.weight [60,48]",
      "model.layers.1.mlp.gate_proj.bias blk.1.ffn_gate.bias [60]",
      "model.layers.1.mlp.up_proj.weight blk.1.ffn_up.weight [60,48]",
      "model.layers.1.mlp.up_proj.bias blk.1.ffn_up.bias [60]",
      "model.layers.1.mlp.down_proj.weight blk.1.ffn_down.weight [48,60]",
      "model.layers.1.mlp.down_proj.bias blk.1.ffn_down.bias [48]",
      "model.layers.1.post_feedforward_layernorm.weight blk.1.post_ffw_norm.weight [48]",
      "model.norm.weight output_norm.weight [48]"};
  ASSERT_GE(lines.size(), second.size());
  EXPECT_EQ(std::vector<std::string>(lines.end() - std::ptrdiff_t(second.size()), lines.end()),
            second);
  // 7 weights, 3 biases, 2 norms of heads and 2 of the layer.
  EXPECT_EQ(lines.size(), 1 + 14 + second.size());
}

TEST(TensorTable, LayoutPlacesEveryTensorOnce) {
  const ModelSpec spec = made_up();
  const BaseLayout layout(spec, {.linear = {}, .norm = DType::kBF16, .embedding = DType::kF16});
  std::multiset<std::string> placed;
  const auto check = [&](const BlobLayout& blob) {
    size_t end = 0;
    bool linears = true;
    for (const PlacedTensor& tensor : blob.tensors) {
      placed.insert(tensor.row.name());
      EXPECT_GE(tensor.offset, end);
      EXPECT_EQ(tensor.offset % Arena::kAlignment, 0u);
      end = tensor.offset + tensor.bytes;
      EXPECT_TRUE(linears || !tensor.is_matrix()) << "a linear behind others";
      linears = tensor.is_matrix();
    }
    EXPECT_GE(blob.bytes, end);
  };
  for (const BlobLayout& layer : layout.layers) check(layer);
  check(layout.outer);
  std::multiset<std::string> expected;
  for (const TensorRow& row : tensors_of(spec)) expected.insert(row.name());
  EXPECT_EQ(placed, expected);
  EXPECT_NE(layout.layers[0].bytes, layout.layers[1].bytes);
  EXPECT_EQ(layout.layers[1].tensors.back().bytes, 48 * sizeof(bf16));
  EXPECT_EQ(layout.outer.tensors.front().bytes, 96 * 48 * sizeof(f16));
}

TEST(TensorTable, AdaptersSitOnEveryLinearAndComeBackFromPeft) {
  const ModelSpec spec = made_up();
  AdapterSet adapters(spec, {.r = 4});
  adapters.init(7);
  EXPECT_EQ(adapters.linears().size(), 14u);
  EXPECT_EQ(adapters.find(1, Site::kDown)->a.cols(), 60);
  EXPECT_EQ(adapters.find(1, Site::kO)->a.cols(), 96);
  EXPECT_EQ(adapters.find(0, Site::kDown)->a.cols(), 100);
  const tessera::testing::ScratchFolder folder;
  save_peft(folder.file("adapter"), adapters, "made/up");
  const AdapterSet loaded = load_peft(folder.file("adapter"), spec);
  EXPECT_TRUE(std::ranges::equal(loaded.params(), adapters.params()));
}

TEST(TensorTable, WhatNoBlockComputesIsRefused) {
  EXPECT_NO_THROW(check_computable(tessera::testing::llama_spec({})));
  tessera::testing::expect_error([] { check_computable(made_up()); }, "MadeUpForCausalLM",
                                 "biases");
}

}  // namespace
}  // namespace tessera::lora
