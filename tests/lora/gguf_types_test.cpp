// A GGUF model whose tensors have a type each, as llama.cpp's Q4_K_M has, in one file and in parts.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <stdexcept>

#include "lora/model/checkpoint.h"
#include "runtime/io/gguf_blocks.h"
#include "runtime/io/safetensors.h"
#include "tests/expect_error.h"
#include "tests/gguf_builder.h"
#include "tests/scratch_folder.h"

namespace tessera::lora {
namespace {

using io::GgufType;
using testing::expect_error;
using testing::GgufBuilder;
using testing::raw;

constexpr uint64_t kHidden = 256, kFfn = 32, kHeads = 2, kKvHeads = 1, kHeadDim = 4, kVocab = 6;

struct Row {
  std::string_view gguf, hf;
  std::vector<uint64_t> dims;  // in the file's order
  std::string_view type;
  uint64_t paired_heads = 0;  // rows that llama.cpp's converter has paired
};

const std::vector<Row>& model_rows() {
  static const std::vector<Row> rows{
      {"token_embd", "model.embed_tokens", {kHidden, kVocab}, "IQ4_XS"},
      {"blk.0.attn_norm", "model.layers.0.input_layernorm", {kHidden}, "F32"},
      {"blk.0.attn_q",
       "model.layers.0.self_attn.q_proj",
       {kHidden, kHeads * kHeadDim},
       "Q4_K",
       kHeads},
      {"blk.0.attn_k",
       "model.layers.0.self_attn.k_proj",
       {kHidden, kKvHeads * kHeadDim},
       "Q6_K",
       kKvHeads},
      {"blk.0.attn_v", "model.layers.0.self_attn.v_proj", {kHidden, kKvHeads * kHeadDim}, "Q5_K"},
      {"blk.0.attn_output", "model.layers.0.self_attn.o_proj", {kHeads * kHeadDim, kHidden}, "F16"},
      {"blk.0.ffn_norm", "model.layers.0.post_attention_layernorm", {kHidden}, "F32"},
      {"blk.0.ffn_gate", "model.layers.0.mlp.gate_proj", {kHidden, kFfn}, "Q3_K"},
      {"blk.0.ffn_up", "model.layers.0.mlp.up_proj", {kHidden, kFfn}, "Q2_K"},
      {"blk.0.ffn_down", "model.layers.0.mlp.down_proj", {kFfn, kHidden}, "Q5_0"},
      {"output_norm", "model.norm", {kHidden}, "F32"},
      {"output", "lm_head", {kHidden, kVocab}, "Q6_K"},
  };
  return rows;
}

uint64_t elements_of(const Row& row) {
  uint64_t count = 1;
  for (const uint64_t extent : row.dims) count *= extent;
  return count;
}

uint32_t number_of(std::string_view type) {
  for (const GgufType each : io::decodable_types()) {
    if (io::name_of(each) == type) return uint32_t(each);
  }
  ADD_FAILURE() << type;
  return 0;
}

class GgufTypes : public ::testing::Test {
 protected:
  /// `bytes` bytes of the golden, again and again.
  std::string golden(const std::string& name, uint64_t bytes) const {
    const io::SafetensorsEntry* entry = golden_.find(name);
    if (!entry) throw std::runtime_error(name);
    std::string stored(entry->bytes, '\0'), out;
    golden_.read(*entry, std::as_writable_bytes(std::span(stored)));
    while (out.size() < bytes) out += stored;
    return out.substr(0, bytes);
  }
  std::string blocks(const Row& row) const {
    const io::GgufBlock block = io::block_of(GgufType(number_of(row.type)));
    return golden(std::string(row.type) + ".blocks",
                  elements_of(row) / block.elements * block.bytes);
  }
  /// What the gguf package decodes, in Hugging Face's order of rows.
  std::string expected(const Row& row) const {
    const std::string stored =
        golden(std::string(row.type) + ".values", elements_of(row) * sizeof(float));
    if (row.paired_heads == 0) return stored;
    std::string out;
    const uint64_t row_bytes = row.dims[0] * sizeof(float);
    for (uint64_t head = 0; head < row.paired_heads; ++head) {
      for (const uint64_t from : {0u, 2u, 1u, 3u}) {  // where the file has them
        out += stored.substr((head * kHeadDim + from) * row_bytes, row_bytes);
      }
    }
    return out;
  }

  static GgufBuilder metadata() {
    GgufBuilder builder;
    builder.text("general.architecture", "llama").u32("llama.block_count", 1);
    builder.u32("llama.context_length", 64).u32("llama.embedding_length", kHidden);
    builder.u32("llama.feed_forward_length", kFfn).u32("llama.attention.head_count", kHeads);
    builder.u32("llama.attention.head_count_kv", kKvHeads);
    builder.u32("llama.attention.key_length", kHeadDim);
    builder.u32("llama.attention.value_length", kHeadDim);
    builder.f32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    return builder;
  }
  void add(GgufBuilder& builder, const Row& row) const {
    builder.tensor(std::string(row.gguf) + ".weight", row.dims, number_of(row.type), blocks(row));
  }
  /// Part `number` (from 0) of three, with four tensors at the most.
  GgufBuilder part(uint16_t number, size_t tensors = 4) const {
    GgufBuilder builder = number == 0 ? metadata() : GgufBuilder();
    builder.pair("split.no", 2, raw(number)).pair("split.count", 2, raw(uint16_t{3}));
    builder.pair("split.tensors.count", 5, raw(int32_t(model_rows().size())));
    for (size_t i = 0; i < tensors; ++i) add(builder, model_rows()[size_t{number} * 4 + i]);
    return builder;
  }
  std::string write_part(uint16_t number, const GgufBuilder& builder) const {
    return folder_.write("m-Q4_K_M-0000" + std::to_string(number + 1) + "-of-00003.gguf",
                         builder.build());
  }
  void expect_model(const Checkpoint& checkpoint) const {
    ASSERT_EQ(checkpoint.tensors().size(), model_rows().size());
    for (const Row& row : model_rows()) {
      const std::string name = std::string(row.hf) + ".weight";
      std::vector<float> read(elements_of(row));
      checkpoint.read_f32(name, read);
      const std::string values = expected(row);
      EXPECT_EQ(std::memcmp(read.data(), values.data(), values.size()), 0) << name;
      EXPECT_EQ(checkpoint.info(name).dtype, row.type == "F16" ? DType::kF16 : DType::kF32);
    }
    const TensorInfo& embedding = checkpoint.tensors().front();
    std::vector<float> all(size_t(embedding.numel())), row(size_t(embedding.shape[1]));
    checkpoint.read_f32(embedding.name, all);
    for (int64_t r = 0; r < embedding.shape[0]; ++r) {
      checkpoint.read_embedding_row(r, row);
      EXPECT_TRUE(std::equal(row.begin(), row.end(), all.begin() + r * embedding.shape[1])) << r;
    }
  }

  testing::ScratchFolder folder_;
  io::SafetensorsFile golden_{TESSERA_GOLDEN_DIR "/gguf/blocks.safetensors"};
};

TEST_F(GgufTypes, AreMixedInOneFile) {
  GgufBuilder builder = metadata();
  for (const Row& row : model_rows()) add(builder, row);
  expect_model(Checkpoint::open(folder_.write("model.gguf", builder.build())));
}

TEST_F(GgufTypes, AreReadFromThePartsOfASplitModel) {
  std::vector<std::string> paths;
  for (const uint16_t i : {0, 1, 2}) paths.push_back(write_part(i, part(i)));
  for (const std::string& path : paths) expect_model(Checkpoint::open(path));
  expect_model(Checkpoint::open(folder_.path()));
  // A folder may not hold another model beside it, nor parts of another splitting.
  for (const char* other : {"mmproj.gguf", "m-Q4_K_M-00001-of-00002.gguf"}) {
    const std::string path = folder_.write(other, "GGUF");
    expect_error([&] { Checkpoint::open(folder_.path()); }, "4 .gguf files", "name one of them");
    std::filesystem::remove(path);
  }
  std::filesystem::remove(paths[0]);
  expect_error([&] { Checkpoint::open(folder_.path()); }, paths[0], "missing");
}

TEST_F(GgufTypes, ErrorsNameThePartThatHoldsTheTensor) {
  for (const uint16_t i : {0, 1}) write_part(i, part(i));
  GgufBuilder last = part(2, 3);
  constexpr uint32_t kIQ2_XXS = 16;
  last.tensor("output.weight", {kHidden, kVocab}, kIQ2_XXS, std::string(66 * kVocab, 'x'));
  const std::string path = write_part(2, last);
  expect_error([&] { Checkpoint::open(folder_.path()); }, path, "'output.weight' is IQ2_XXS",
               io::decodable_names());
}

}  // namespace
}  // namespace tessera::lora
