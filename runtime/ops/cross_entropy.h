// The cross-entropy of a softmax, with its gradient taking the place of the logits: the head works
// in chunks of tokens, so logits of a whole batch never exist. Losses are not summed here.
#pragma once

#include <span>

#include "runtime/core/context.h"
#include "runtime/core/tensor.h"

namespace tessera {

struct CrossEntropyOptions {
  // What a row's gradient is multiplied by: scale, times its weight. The product is rounded to f32.
  float scale;
  Tensor weights{};  // [N] f32; empty: every weight is 1
  /// Share of the target that is spread over the whole vocabulary, the target's token included; in
  /// [0, 1).
  float smoothing = 0.0f;
};

/// losses[N] = -sum_j q_j log softmax(logits[i,:])_j in nats, without scale or weight, and row i of
/// logits[N,V] becomes (softmax(logits[i,:]) - q) * (scale * weights[i]), where q is the
/// distribution to learn: 1 - smoothing at targets[i], and smoothing / V everywhere. Losses are
/// f32, logits of the context's activation dtype, both overwritten. targets[N] in [0, V); Error
/// otherwise. A NaN or +infinity among a row's logits makes that row's loss NaN; with smoothing, a
/// -infinity makes it infinite.
void cross_entropy(Context& ctx, Tensor losses, Tensor logits, std::span<const int32_t> targets,
                   const CrossEntropyOptions& options);

namespace cpu {
void cross_entropy(Context& ctx, Tensor losses, Tensor logits, std::span<const int32_t> targets,
                   const CrossEntropyOptions& options);
}  // namespace cpu
namespace cuda {
void cross_entropy(Context& ctx, Tensor losses, Tensor logits, std::span<const int32_t> targets,
                   const CrossEntropyOptions& options);
}  // namespace cuda

}  // namespace tessera
