// The tensor table: one row for each tensor of a model, with its names, shape and role. Loader,
// layout, adapters, PEFT files, merge and the time model go through it; no other list of a model's
// modules exists.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lora/model/spec.h"

namespace tessera::lora {

enum class Role : uint8_t { kEmbedding, kNorm, kLinear, kBias, kHead };

/// The places of a block's linears. A new one goes to the end: the value keys dropout.
enum class Site : uint8_t { kQ, kK, kV, kO, kGate, kUp, kDown, kQkv, kGateUp };
inline constexpr size_t kSiteCount = size_t(Site::kGateUp) + 1;

/// One linear of a model's layers.
struct LinearId {
  int64_t layer;
  Site site;
  auto operator<=>(const LinearId&) const = default;
};

struct TensorRow {
  static constexpr int64_t kNoLayer = -1;

  std::string module;  // Hugging Face's and PEFT's path: "model.layers.0.self_attn.q_proj"
  std::string_view parameter = "weight";  // of the module; or "bias"
  std::string gguf;                       // "blk.0.attn_q.weight"
  std::vector<int64_t> shape;             // row-major; [out, in] of a linear
  Role role = Role::kNorm;
  int64_t layer = kNoLayer;
  Site site{};      // of kLinear and kBias
  NormSite norm{};  // of a layer's kNorm
  /// llama.cpp's converter stores the rows of q and k as pairs (i, i + head_dim / 2), head by head:
  /// the number of heads to undo it for; 0 where rows are in order.
  int64_t interleaved_heads = 0;
  /// What llama.cpp's converter adds to every value.
  float gguf_plus = 0;
  /// Of a linear of the layers: its number among them, which keys an adapter's initial values.
  int64_t number = 0;

  /// "model.layers.0.self_attn.q_proj.weight"
  std::string name() const;
  /// The module's own name: "q_proj".
  std::string_view own_name() const;
  LinearId id() const { return {layer, site}; }
  int64_t in() const { return shape[1]; }
  int64_t out() const { return shape[0]; }
  /// Whether an adapter may sit on it.
  bool is_adaptable() const { return role == Role::kLinear; }
};

/// In the order of Hugging Face's model: embedding, layer by layer, last norm, and the head unless
/// it is the embedding.
std::vector<TensorRow> tensors_of(const ModelSpec& spec);

/// The rows that an adapter may sit on, which is the order of adapters.
std::vector<TensorRow> linears_of(const ModelSpec& spec);

// The embedding, the last norm and the head in GGUF files, and the head in Hugging Face's.
inline constexpr std::string_view kEmbeddingGguf = "token_embd.weight";
inline constexpr std::string_view kHeadGguf = "output.weight";
inline constexpr std::string_view kHeadWeight = "lm_head.weight";
inline constexpr std::string_view kHeadModule = kHeadWeight.substr(0, kHeadWeight.rfind('.'));

/// Hugging Face's names, which begin with the model's prefix: "model.embed_tokens.weight", and what
/// the layers' modules begin with, before the number of the layer ("model.layers.").
std::string embedding_weight(const ModelSpec& spec);
std::string layers_path(const ModelSpec& spec);

}  // namespace tessera::lora
