// One decoder layer: attention, then the gated MLP, each between norms and a residual addition.
// Forward and backward are free functions over Block (the weights, bound to a lease for as long as
// the call lasts) and BlockSaved (what forward leaves). Recomputation calls block_forward again.
// Shapes: N tokens, C hidden, F ffn, H heads, K kv heads, D head dim, R rank.
#pragma once

#include <array>

#include "lora/adapter/linear.h"
#include "lora/decoder/rope_tables.h"
#include "lora/model/tensors.h"
#include "runtime/core/function_ref.h"
#include "runtime/ops/attention.h"

namespace tessera::lora {

struct Block {
  const LayerSpec& spec;
  std::array<Tensor, kNormSiteCount> norm = {};  // empty where the layer has none
  std::array<Linear, kSiteCount> linear = {};

  const Linear& at(Site site) const { return linear[size_t(site)]; }
  const Tensor& at(NormSite site) const { return norm[size_t(site)]; }
};

/// Which tokens the block works on, and how each sees the others.
struct BlockInput {
  const ModelSpec& model;
  std::span<const RopeRows> ropes;  // as ModelSpec::ropes
  AttentionSamples& samples;        // of the batch
};

AttentionShape attention_shape(const AttentionSpec& spec);

/// A norm's input and what its forward leaves; empty where the layer has no such norm.
struct SavedNorm {
  Tensor x;     // [N, width]
  Tensor rstd;  // of each row of the norm
};

struct BlockSaved {
  Tensor x;                                      // [N, C] the block's input
  std::array<SavedNorm, kNormSiteCount> norm{};  // of norms before a half, x is that half's input
  Tensor q, k, v;                                // [N, H*D], [N, K*D], [N, K*D]; as attended
  Tensor attended;                               // [N, H*D]
  Tensor lse;                                    // [H, N]
  Tensor mid;                                    // [N, C] after attention
  Tensor gate, up;                               // [N, F]
  std::array<Tensor, kSiteCount> u;              // [N, R] of each adapted linear

  SavedNorm& at(NormSite site) { return norm[size_t(site)]; }
};

/// Everything of BlockSaved but x.
BlockSaved allocate_saved(Arena& arena, const Block& block, Tensor x);

/// out[N,H*D] and lse from s.q, s.k, s.v: attention inside each sample, or against a cache.
using Attend = FunctionRef<void(BlockSaved& s)>;

/// y[N,C] = block(s.x), and fills s. An empty y skips what only y needs (recomputation).
void block_forward(Context& ctx, Tensor y, BlockSaved& s, const Block& block,
                   const BlockInput& input, Attend attend);

/// The attend of training: causal attention inside each sample.
void attend_within_samples(Context& ctx, BlockSaved& s, const Block& block,
                           const BlockInput& input);

/// d[N,C]: on entry the gradient of the block's output, on return of its input (unless !need_dx,
/// when it is unspecified). Accumulates adapter gradients. Overwrites s.gate and s.up.
void block_backward(Context& ctx, Tensor d, BlockSaved& s, const Block& block,
                    const BlockInput& input, bool need_dx);

}  // namespace tessera::lora
