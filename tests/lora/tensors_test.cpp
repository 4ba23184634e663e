// The tensor table, and all that goes through it, for a Llama and for a made-up family whose layers
// have biases, norms of queries and keys, norms behind attention and MLP, and differ from each
// other.
#include "lora/model/tensors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "lora/adapter/peft.h"
#include "lora/decoder/block.h"
#include "lora/model/loader.h"
#include "parallel/self_communicator.h"
#include "quant/format_4bit.h"
#include "quant/format_dense.h"
#include "tests/expect_error.h"
#include "tests/gguf_builder.h"
#include "tests/model_folder.h"
#include "tests/scratch_folder.h"
#include "tests/spec.h"

namespace tessera::lora {
namespace {

using testing::made_up_spec;

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
  ModelSpec spec = testing::llama_spec({.vocab = 96});
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
  const std::vector<std::string> lines = described(tensors_of(made_up_spec()));
  const std::vector<std::string> second = {
      "model.layers.1.self_attn.q_proj.weight blk.1.attn_q.weight [96,48]",
      "model.layers.1.self_attn.q_proj.bias blk.1.attn_q.bias [96]",
      "model.layers.1.self_attn.k_proj.weight blk.1.attn_k.weight [32,48]",
      "model.layers.1.self_attn.k_proj.bias blk.1.attn_k.bias [32]",
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
  EXPECT_EQ(lines[2], "model.layers.0.self_attn.q_proj.bias blk.0.attn_q.bias [64] 4 heads");
  // 7 weights, 3 biases, 2 norms of heads and 2 of the layer.
  EXPECT_EQ(lines.size(), 1 + 14 + second.size());
}

TEST(TensorTable, LayoutPlacesEveryTensorOnce) {
  const ModelSpec spec = made_up_spec();
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
  const ModelSpec spec = made_up_spec();
  AdapterSet adapters(spec, {.r = 4});
  adapters.init(7);
  EXPECT_EQ(adapters.linears().size(), 14u);
  EXPECT_EQ(adapters.find(1, Site::kDown)->a.cols(), 60);
  EXPECT_EQ(adapters.find(1, Site::kO)->a.cols(), 96);
  EXPECT_EQ(adapters.find(0, Site::kDown)->a.cols(), 100);
  const testing::ScratchFolder folder;
  save_peft(folder.file("adapter"), adapters, "made/up");
  const AdapterSet loaded = load_peft(folder.file("adapter"), spec);
  EXPECT_TRUE(std::ranges::equal(loaded.params(), adapters.params()));
}

/// Every tensor of write_tensors() lies in the loaded base, byte by byte.
void expect_loaded(const Checkpoint& checkpoint, const quant::Format& linears) {
  const ModelSpec& spec = checkpoint.spec();
  BaseFormat format = checkpoint_format(checkpoint);
  format.linear = {&linears};
  Context ctx(Device::cpu(), 1, 0);
  parallel::SelfCommunicator alone;
  BaseWeights base(ctx, spec, format, {alone, {}});
  load_base(ctx, checkpoint, base, alone, [](int64_t, int64_t) {});
  const auto expect = [&](const BlobLayout& layout, std::span<const std::byte> blob) {
    for (const PlacedTensor& tensor : layout.tensors) {
      const std::vector<float> values = testing::values_of(tensor.row);
      std::vector<std::byte> expected(std::as_bytes(std::span(values)).begin(),
                                      std::as_bytes(std::span(values)).end());
      if (tensor.is_matrix()) {
        expected.resize(tensor.bytes);
        quant::FrozenMatrix::quantize(ctx, tensor.matrix, values, expected.data(), "w");
      }
      ASSERT_EQ(expected.size(), tensor.bytes) << tensor.row.name();
      EXPECT_TRUE(std::ranges::equal(blob.subspan(tensor.offset, tensor.bytes), expected))
          << tensor.row.name();
    }
  };
  for (int64_t l = 0; l < spec.layer_count(); ++l) {
    expect(base.layout().layers[size_t(l)], base.store().whole(l));
  }
  expect(base.layout().outer, base.outer().whole(0));
}

TEST(TensorTable, OfAnyFamilyIsLoadedFromAFolder) {
  const ModelSpec spec = made_up_spec();
  for (size_t shards : {1, 2}) {
    const testing::ScratchFolder folder;
    testing::write_tensors(folder, spec, shards);
    const Checkpoint checkpoint = Checkpoint::open(folder.path(), spec);
    const std::vector<TensorRow> rows = tensors_of(spec);
    ASSERT_EQ(checkpoint.tensors().size(), rows.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      EXPECT_EQ(checkpoint.tensors()[i].name, rows[i].name());
      EXPECT_EQ(checkpoint.tensors()[i].shape, rows[i].shape);
    }
    expect_loaded(checkpoint, quant::kF32Format);
    expect_loaded(checkpoint, quant::kNf4Format);
  }
}

TEST(TensorTable, TensorsThatAreNotOfTheSpecAreRefused) {
  ModelSpec other = made_up_spec();
  other.layers[1].attention.o_bias = false;
  const testing::ScratchFolder more, less;
  testing::write_tensors(more, made_up_spec(), 1);
  testing::write_tensors(less, other, 1);
  testing::expect_error([&] { Checkpoint::open(less.path(), made_up_spec()); },
                        "'model.layers.1.self_attn.o_proj.bias' is missing");
  testing::expect_error([&] { Checkpoint::open(more.path(), other); },
                        "'model.layers.1.self_attn.o_proj.bias' does not belong");
}

/// In the first layer llama.cpp's converter has paired the rows of q and k, in the second not.
TEST(TensorTable, OfAnyFamilyIsReadFromGguf) {
  const ModelSpec spec = made_up_spec();
  testing::GgufBuilder builder;
  for (const TensorRow& row : tensors_of(spec)) {
    std::string bytes;
    for (float value : testing::values_of(row)) bytes += testing::raw(value);
    builder.tensor(row.gguf, {row.shape.rbegin(), row.shape.rend()}, 0, bytes);
  }
  const testing::ScratchFolder folder;
  const Checkpoint checkpoint = Checkpoint::open(folder.write("model.gguf", builder.build()), spec);
  for (const TensorRow& row : tensors_of(spec)) {
    const std::vector<float> stored = testing::values_of(row);
    std::vector<float> read(stored.size()), expected = stored;
    checkpoint.read_f32(row.name(), read);
    const bool paired =
        row.layer == 0 && row.role != Role::kNorm && (row.site == Site::kQ || row.site == Site::kK);
    const int64_t width = int64_t(stored.size()) / row.shape[0];
    for (int64_t i = 0; paired && i < row.shape[0]; ++i) {
      const int64_t within = i % 16;  // a head: rows (0, 8), (1, 9), ...
      const int64_t to = i - within + (within % 2) * 8 + within / 2;
      std::copy_n(stored.begin() + i * width, width, expected.begin() + to * width);
    }
    EXPECT_EQ(read, expected) << row.name();
    EXPECT_EQ(paired, expected != stored) << row.name();
  }
}

TEST(TensorTable, AQuantizedBiasIsRefused) {
  testing::GgufBuilder builder;
  constexpr uint32_t kQ8_0 = 8;
  for (const TensorRow& row : tensors_of(made_up_spec())) {
    const bool bias = row.gguf == "blk.0.attn_q.bias";
    const size_t values = testing::values_of(row).size();
    builder.tensor(row.gguf, {row.shape.rbegin(), row.shape.rend()}, bias ? kQ8_0 : 0,
                   std::string(bias ? values / 32 * 34 : values * 4, 'x'));
  }
  const testing::ScratchFolder folder;
  const std::string path = folder.write("model.gguf", builder.build());
  testing::expect_error([&] { Checkpoint::open(path, made_up_spec()); },
                        "'blk.0.attn_q.bias' is Q8_0", "F32, F16 or BF16");
}

}  // namespace
}  // namespace tessera::lora
