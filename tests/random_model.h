// For tests: a Llama with random weights in Hugging Face layout, and rows of random tokens for it.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "runtime/core/error.h"
#include "runtime/io/safetensors.h"
#include "tests/scratch_folder.h"

namespace tessera::testing {

struct RandomModel {
  int64_t layers = 6;
  int64_t hidden = 64;
  int64_t ffn = 160;
  int64_t heads = 4;
  int64_t kv_heads = 2;
  int64_t vocab = 256;
  bool tied = false;
};

/// Uniform in [-scale, scale), from a linear congruential generator.
class RandomNumbers {
 public:
  explicit RandomNumbers(uint32_t seed) : state_(seed) {}
  uint32_t bits() { return (state_ = state_ * 1664525u + 1013904223u) >> 8; }
  float uniform(float scale) { return (float(bits()) / float(1 << 23) - 1.0f) * scale; }

 private:
  uint32_t state_;
};

/// Writes config.json and model.safetensors into `folder`.
inline void write_random_model(const Folder& folder, const RandomModel& m) {
  const int64_t dim = m.hidden / m.heads;
  const nlohmann::json config = {{"architectures", {"LlamaForCausalLM"}},
                                 {"model_type", "llama"},
                                 {"hidden_act", "silu"},
                                 {"hidden_size", m.hidden},
                                 {"intermediate_size", m.ffn},
                                 {"num_hidden_layers", m.layers},
                                 {"num_attention_heads", m.heads},
                                 {"num_key_value_heads", m.kv_heads},
                                 {"head_dim", dim},
                                 {"vocab_size", m.vocab},
                                 {"max_position_embeddings", 4096},
                                 {"rms_norm_eps", 1e-5},
                                 {"rope_theta", 10000.0},
                                 {"tie_word_embeddings", m.tied},
                                 {"torch_dtype", "float32"}};
  folder.write("config.json", config.dump(2));

  std::vector<io::SafetensorsEntry> layout;
  const auto add = [&](std::string name, std::vector<int64_t> shape) {
    layout.push_back({std::move(name), "F32", std::move(shape), 0, 0});
  };
  add("model.embed_tokens.weight", {m.vocab, m.hidden});
  add("model.norm.weight", {m.hidden});
  if (!m.tied) add("lm_head.weight", {m.vocab, m.hidden});
  for (int64_t l = 0; l < m.layers; ++l) {
    const std::string at = fmt::format("model.layers.{}.", l);
    add(at + "input_layernorm.weight", {m.hidden});
    add(at + "post_attention_layernorm.weight", {m.hidden});
    add(at + "self_attn.q_proj.weight", {m.hidden, m.hidden});
    add(at + "self_attn.k_proj.weight", {m.kv_heads * dim, m.hidden});
    add(at + "self_attn.v_proj.weight", {m.kv_heads * dim, m.hidden});
    add(at + "self_attn.o_proj.weight", {m.hidden, m.hidden});
    add(at + "mlp.gate_proj.weight", {m.ffn, m.hidden});
    add(at + "mlp.up_proj.weight", {m.ffn, m.hidden});
    add(at + "mlp.down_proj.weight", {m.hidden, m.ffn});
  }
  RandomNumbers random(1);
  io::SafetensorsWriter writer(folder.file("model.safetensors"), layout);
  for (const io::SafetensorsEntry& entry : writer.entries()) {
    std::vector<float> values(entry.bytes / sizeof(float));
    const bool norm = entry.shape.size() == 1;
    for (float& value : values) value = norm ? 1.0f + random.uniform(0.1f) : random.uniform(0.1f);
    writer.write(entry.name, std::as_bytes(std::span(values)));
  }
  writer.commit();
}

/// Writes `rows` tokenized rows of `shortest` to `longest` tokens as rows.jsonl; gives its path.
inline std::string write_random_rows(const Folder& folder, int rows, int shortest, int longest,
                                     int64_t vocab) {
  RandomNumbers random(2);
  std::string text;
  for (int r = 0; r < rows; ++r) {
    const int length = shortest + int(random.bits() % uint32_t(longest - shortest + 1));
    nlohmann::json ids = nlohmann::json::array(), labels = nlohmann::json::array();
    for (int i = 0; i < length; ++i) {
      ids.push_back(random.bits() % uint32_t(vocab));
      labels.push_back(i % 4 == 0 ? nlohmann::json(-100) : ids.back());
    }
    text += nlohmann::json({{"input_ids", ids}, {"labels", labels}}).dump() + "\n";
  }
  return folder.write("rows.jsonl", text);
}

/// The config of a short run on the model in `folder` and the rows in the file `rows`: five
/// micro-batches a step, which no number of ranks from 2 to 4 divides.
inline std::string random_run(const Folder& folder, const std::string& rows) {
  return fmt::format(R"(base_model: {}
datasets:
  - path: {}
    type: tokenized
sequence_len: 64
micro_batch_size: 1
global_batch_size: 5
sample_packing: false
max_steps: 4
learning_rate: 1e-3
lora_dropout: 0.1
threads: 1
)",
                     folder.path(), rows);
}

}  // namespace tessera::testing
