// One decoder layer: attention, then the gated MLP, each behind an RMSNorm and a residual addition.
// Forward and backward are free functions over Block (the weights, bound to a lease for as long as
// the call lasts) and BlockSaved (what forward leaves). Recomputation calls block_forward again.
// Shapes: N tokens, C hidden, F ffn, H heads, K kv heads, D head dim, R rank.
#pragma once

#include <array>

#include "lora/adapter/linear.h"
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

/// Error unless block_forward() and block_backward() compute such layers: norms before attention
/// and before the MLP, no biases or norms of queries and keys, and heads of one size.
void check_computable(const ModelSpec& model);

/// Which tokens the block works on, and how each sees the others.
struct BlockInput {
  const ModelSpec& model;
  Tensor positions;           // [N] i32, inside the sample
  Tensor cos, sin;            // [max position, D/2]
  AttentionSamples& samples;  // of the batch
};

AttentionShape attention_shape(const AttentionSpec& spec);

struct BlockSaved {
  Tensor x;                          // [N, C] the block's input
  Tensor attention_rstd;             // [N]
  Tensor q, k, v;                    // [N, H*D], [N, K*D], [N, K*D]; q and k rotated
  Tensor attended;                   // [N, H*D]
  Tensor lse;                        // [H, N]
  Tensor mid;                        // [N, C] after attention
  Tensor mlp_rstd;                   // [N]
  Tensor gate, up;                   // [N, F]
  std::array<Tensor, kSiteCount> u;  // [N, R] of each adapted linear
};

/// Everything of BlockSaved but x.
BlockSaved allocate_saved(Arena& arena, const Block& block, Tensor x);

/// out[N,H*D] and lse from s.q, s.k, s.v: attention inside each sample, or against a cache.
using Attend = FunctionRef<void(BlockSaved& s)>;

/// y[N,C] = block(s.x), and fills s. An empty y skips the last product (recomputation).
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
