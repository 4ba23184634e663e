#include "lora/model/tensors.h"

#include <fmt/format.h>

#include <algorithm>

namespace tessera::lora {
namespace {

/// Makes the rows of one layer, in order.
class LayerRows {
 public:
  LayerRows(const ModelSpec& spec, int64_t layer, std::vector<TensorRow>& rows)
      : spec_(spec), layer_(layer), rows_(rows) {}

  void add_all() {
    const LayerSpec& l = spec_.layers[size_t(layer_)];
    const AttentionSpec& a = l.attention;
    const int64_t c = spec_.hidden, f = l.mlp.width;
    norm_at(NormSite::kBeforeAttention);
    if (a.fused) {
      linear(Site::kQkv, "self_attn.qkv_proj", "attn_qkv", {a.q_size() + 2 * a.kv_size(), c},
             a.qkv_bias);
    } else {
      const int64_t q_interleaved = a.interleaved_in_gguf ? a.heads : 0;
      const int64_t k_interleaved = a.interleaved_in_gguf ? a.kv_heads : 0;
      linear(Site::kQ, "self_attn.q_proj", "attn_q", {a.q_size(), c}, a.qkv_bias, q_interleaved);
      linear(Site::kK, "self_attn.k_proj", "attn_k", {a.kv_size(), c}, a.qkv_bias, k_interleaved);
      linear(Site::kV, "self_attn.v_proj", "attn_v", {a.kv_size(), c}, a.qkv_bias);
    }
    linear(Site::kO, "self_attn.o_proj", "attn_output", {c, a.q_size()}, a.o_bias);
    if (a.qk_norm != QkNorm::kNone) {
      const bool per_head = a.qk_norm == QkNorm::kPerHead;
      norm({NormSite::kQ, "self_attn.q_norm", "attn_q_norm"}, per_head ? a.head_dim : a.q_size());
      norm({NormSite::kK, "self_attn.k_norm", "attn_k_norm"}, per_head ? a.head_dim : a.kv_size());
    }
    norm_at(NormSite::kAfterAttention);
    norm_at(NormSite::kBeforeMlp);
    if (l.mlp.fused) {
      linear(Site::kGateUp, "mlp.gate_up_proj", "ffn_up", {2 * f, c}, l.mlp.bias);
    } else {
      linear(Site::kGate, "mlp.gate_proj", "ffn_gate", {f, c}, l.mlp.bias);
      linear(Site::kUp, "mlp.up_proj", "ffn_up", {f, c}, l.mlp.bias);
    }
    linear(Site::kDown, "mlp.down_proj", "ffn_down", {c, f}, l.mlp.bias);
    norm_at(NormSite::kAfterMlp);
  }

 private:
  TensorRow& add(std::string_view module, std::string_view gguf, std::string_view parameter,
                 std::vector<int64_t> shape) {
    return rows_.emplace_back(
        TensorRow{.module = fmt::format("{}{}.{}", layers_path(spec_), layer_, module),
                  .parameter = parameter,
                  .gguf = fmt::format("blk.{}.{}.{}", layer_, gguf, parameter),
                  .shape = std::move(shape),
                  .role = Role::kNorm,
                  .layer = layer_});
  }

  void linear(Site site, std::string_view module, std::string_view gguf, std::vector<int64_t> shape,
              bool bias, int64_t interleaved_heads = 0) {
    const int64_t out = shape[0];
    TensorRow& weight = add(module, gguf, "weight", std::move(shape));
    weight.role = Role::kLinear;
    weight.site = site;
    weight.interleaved_heads = interleaved_heads;
    if (!bias) return;
    TensorRow& row = add(module, gguf, "bias", {out});
    row.role = Role::kBias;
    row.site = site;
    row.interleaved_heads = interleaved_heads;
  }

  void norm(const NormName& name, int64_t width) {
    TensorRow& row = add(name.hf, name.gguf, "weight", {width});
    row.norm = name.site;
    row.gguf_plus = spec_.norm_plus;
  }

  void norm_at(NormSite site) {
    for (const NormName& name : spec_.layers[size_t(layer_)].norms) {
      if (name.site == site) norm(name, spec_.hidden);
    }
  }

  const ModelSpec& spec_;
  int64_t layer_;
  std::vector<TensorRow>& rows_;
};

}  // namespace

std::string TensorRow::name() const { return fmt::format("{}.{}", module, parameter); }

std::string_view TensorRow::own_name() const {
  return std::string_view(module).substr(module.rfind('.') + 1);
}

std::string embedding_weight(const ModelSpec& spec) { return spec.prefix + "embed_tokens.weight"; }

std::string layers_path(const ModelSpec& spec) { return spec.prefix + "layers."; }

std::vector<TensorRow> tensors_of(const ModelSpec& spec) {
  std::vector<TensorRow> rows;
  const auto outer = [&](std::string_view name, std::string_view gguf, Role role,
                         std::vector<int64_t> shape) {
    rows.push_back(TensorRow{.module = std::string(name.substr(0, name.rfind('.'))),
                             .gguf = std::string(gguf),
                             .shape = std::move(shape),
                             .role = role});
  };
  outer(embedding_weight(spec), kEmbeddingGguf, Role::kEmbedding, {spec.vocab, spec.hidden});
  for (int64_t layer = 0; layer < spec.layer_count(); ++layer) {
    LayerRows(spec, layer, rows).add_all();
  }
  outer(spec.prefix + "norm.weight", "output_norm.weight", Role::kNorm, {spec.hidden});
  rows.back().gguf_plus = spec.norm_plus;
  if (!spec.tied_head) {
    outer(kHeadWeight, kHeadGguf, Role::kHead, {spec.vocab, spec.hidden});
  }
  int64_t number = 0;
  for (TensorRow& row : rows) {
    if (row.is_adaptable()) row.number = number++;
  }
  return rows;
}

std::vector<TensorRow> linears_of(const ModelSpec& spec) {
  std::vector<TensorRow> rows = tensors_of(spec);
  std::erase_if(rows, [](const TensorRow& row) { return !row.is_adaptable(); });
  return rows;
}

}  // namespace tessera::lora
