// What a model is, as data: everything in which the supported families differ is a field here.
// families.cpp fills it from a checkpoint's config; nothing else knows a family's name. Layers may
// differ from each other. Which tensors follow from it is in tensors.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/core/dtype.h"
#include "runtime/ops/activation.h"
#include "runtime/ops/rope.h"

namespace tessera::lora {

/// RMSNorms of queries and keys before they are turned to their positions.
enum class QkNorm : uint8_t {
  kNone,
  kPerHead,     // over each head: a weight of the head's size for all heads
  kWholeWidth,  // over all heads together
};

struct AttentionSpec {
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  double score_scale = 0;  // of q k^T; 0: 1 / sqrt(head_dim)
  int64_t window = 0;      // > 0: a token sees itself and the window - 1 tokens before it only
  double softcap = 0;      // > 0: the bound of the scores
  int rope = 0;            // index into ModelSpec::ropes, or kNoRope
  bool qkv_bias = false;
  bool o_bias = false;
  bool fused = false;  // q, k and v are one projection, one below the other
  QkNorm qk_norm = QkNorm::kNone;
  // llama.cpp's converter stores the rows of q and k in pairs, as TensorRow::interleaved_heads.
  bool interleaved_in_gguf = false;

  static constexpr int kNoRope = -1;

  int64_t q_size() const { return heads * head_dim; }
  int64_t kv_size() const { return kv_heads * head_dim; }
};

/// down(activation(gate(x)) * up(x))
struct MlpSpec {
  int64_t width = 0;
  Activation activation = Activation::kSilu;
  bool bias = false;
  bool fused = false;  // gate and up are one projection, gate first
};

/// The places of a layer's norms.
enum class NormSite : uint8_t { kBeforeAttention, kAfterAttention, kBeforeMlp, kAfterMlp, kQ, kK };
inline constexpr size_t kNormSiteCount = size_t(NormSite::kK) + 1;

/// A norm that a layer has around its two halves, and its name inside the layer: families call the
/// same norm differently.
struct NormName {
  NormSite site;
  std::string_view hf;    // "input_layernorm"
  std::string_view gguf;  // "attn_norm"
};

struct LayerSpec {
  AttentionSpec attention;
  MlpSpec mlp;
  std::span<const NormName> norms;  // of a constant table in families.cpp
  double residual_scale = 1;        // of what attention and MLP add to their inputs
};

struct ModelSpec {
  std::string architecture;  // as the checkpoint names it, e.g. LlamaForCausalLM
  /// What transformers' names of the text model's tensors begin with, but for the head's.
  std::string prefix = "model.";
  int64_t hidden = 0;
  int64_t vocab = 0;
  int64_t max_position = 0;
  std::vector<LayerSpec> layers;
  int64_t extra_layers = 0;    // behind the last, to predict more tokens at once; left out
  std::vector<Rope> ropes{1};  // rules of rotary positions; see AttentionSpec::rope
  float rms_eps = 1e-5f;
  float norm_plus = 0;  // RmsNorm::plus of every norm; GGUF files hold the sum
  double embedding_scale = 1;
  bool rounds_embedding_scale = false;  // to the dtype of activations, before it multiplies
  double logit_scale = 1;
  double logit_softcap = 0;  // > 0: the bound of the logits
  bool tied_head = false;
  bool may_be_tied = false;   // not in the config: tied, unless the files have another head
  bool head_differs = false;  // the config calls it tied, but the files have weights of its own
  DType dtype = DType::kF32;  // of the checkpoint's weights
  int32_t bos_id = -1;        // -1: none
  std::vector<int32_t> eos_ids;
  int32_t pad_id = -1;  // -1: none; its row of the embedding is not trained, as in transformers
  double attention_dropout = 0;  // of the config; `train` names both and applies neither
  double residual_dropout = 0;

  int64_t layer_count() const { return int64_t(layers.size()); }
};

/// Far above any model; small enough that no product of two of them, nor their bytes, overflows.
struct SpecLimits {
  static constexpr int64_t kWidth = 1 << 20;
  static constexpr int64_t kFfn = 1 << 22;
  static constexpr int64_t kVocab = 1 << 24;
  static constexpr int64_t kLayers = 1 << 12;
  static constexpr int64_t kPosition = int64_t{1} << 31;
};

/// Throws Error unless a model can have so many layers.
void check_layers(int64_t layers, std::string_view source);

/// Throws Error when sizes are out of range or do not fit together. After it no product of two
/// sizes, times the bytes of an element, overflows int64.
void check_spec(const ModelSpec& spec, std::string_view source);

}  // namespace tessera::lora
