// Causal attention over packed samples, forward and backward, and over a cache for generation.
// A token sees the tokens of its own sample up to itself, nothing of other samples; memory is
// linear in the tokens. A sample's bits depend neither on the other samples nor on the thread
// count. Tensors are of the context's activation dtype, lse of float32; outputs are overwritten and
// must not overlap inputs.
#pragma once

#include <cstdint>

#include "runtime/core/context.h"
#include "runtime/core/tensor.h"
#include "runtime/ops/attention_samples.h"

namespace tessera {

/// The size of every device's tiles of keys divides it: attention to a cache without its first rows
/// gives the same bits where their number is a multiple of it.
inline constexpr int64_t kAttentionAlignment = 128;

struct AttentionShape {
  int64_t heads;         // H
  int64_t kv_heads;      // K, divides H; query head h reads kv head h / (H / K)
  int64_t head_dim;      // D, at most 256; multiples of 16 are fastest
  float scale;           // > 0; of the logits, usually 1 / sqrt(D)
  int64_t window = 0;    // > 0: a token sees itself and the window - 1 tokens before it only
  float softcap = 0.0f;  // > 0: a logit x becomes softcap * tanh(x / softcap) (Gemma 2)
};

struct AttentionInput {
  Tensor q;                   // [N, H*D]
  Tensor k;                   // [N, K*D]
  Tensor v;                   // [N, K*D]
  AttentionSamples& samples;  // of N tokens
  AttentionShape shape;
};

struct AttentionGrads {
  Tensor dq;  // [N, H*D]
  Tensor dk;  // [N, K*D]
  Tensor dv;  // [N, K*D]
};

/// One sequence's newest tokens against its cache.
struct AttentionDecode {
  Tensor q;       // [n, H*D]: the tokens at positions first, first + 1, ...
  Tensor k;       // [T, K*D]: T >= first + n, rows beyond are not read
  Tensor v;       // [T, K*D]
  int64_t first;  // >= 0
  AttentionShape shape;
};

/// out[N, H*D] = softmax(x, causal) v per head with logits x = scale * q k^T, capped if asked;
/// lse[H, N] = the natural log of each row's sum of exp(x), which is what the backward needs. A NaN
/// or +infinite logit makes its row NaN; what a row does not see it does not feel, save that a NaN
/// or infinity in v may also reach rows of its sample that lie near it. Blockwise softmax of Dao et
/// al., "FlashAttention-2", algorithm 1; on a GPU, probabilities of 16-bit types are rounded before
/// they meet v. Throws Error when the model's heads do not divide or are too wide.
void attention(Context& ctx, Tensor out, Tensor lse, const AttentionInput& in);

/// The gradients of sum(dout * out) with out and lse as attention() wrote them (FlashAttention-2,
/// algorithm 2, recomputing the probabilities). NaN and infinities reach every gradient of what
/// they took part in, and may reach others of their sample that lie near.
void attention_backward(Context& ctx, const AttentionGrads& grads, Tensor dout, Tensor out,
                        Tensor lse, const AttentionInput& in);

/// out[n, H*D]: the same bits as the same rows of attention() over the whole sequence.
void attention_decode(Context& ctx, Tensor out, const AttentionDecode& in);

namespace cpu {
void attention(Context& ctx, Tensor out, Tensor lse, const AttentionInput& in);
void attention_backward(Context& ctx, const AttentionGrads& grads, Tensor dout, Tensor out,
                        Tensor lse, const AttentionInput& in);
void attention_decode(Context& ctx, Tensor out, const AttentionDecode& in);
}  // namespace cpu
namespace cuda {
void attention(Context& ctx, Tensor out, Tensor lse, const AttentionInput& in);
void attention_backward(Context& ctx, const AttentionGrads& grads, Tensor dout, Tensor out,
                        Tensor lse, const AttentionInput& in);
void attention_decode(Context& ctx, Tensor out, const AttentionDecode& in);
}  // namespace cuda

}  // namespace tessera
