// The cross-entropy of a softmax, with its gradient taking the place of the logits: the head works
// in chunks of tokens, so logits of a whole batch never exist. Losses are not summed here.
#pragma once

#include <span>

#include "runtime/core/context.h"
#include "runtime/core/tensor.h"

namespace tessera {

/// What a row's gradient is multiplied by: scale, times its weight. The product is rounded to f32.
struct GradientScale {
  float scale;
  Tensor weights{};  // [N] f32; empty: every weight is 1
};

/// losses[N] = -log softmax(logits[i,:])[targets[i]] in nats, without scale or weight, and row i of
/// logits[N,V] becomes (softmax(logits[i,:]) - onehot(targets[i])) * (scale * weights[i]); losses
/// are f32, logits of the context's activation dtype, both overwritten. targets[N] in [0, V); Error
/// otherwise. A NaN or +infinity among a row's logits makes that row's loss NaN.
void cross_entropy(Context& ctx, Tensor losses, Tensor logits, std::span<const int32_t> targets,
                   const GradientScale& scale);

namespace cpu {
void cross_entropy(Context& ctx, Tensor losses, Tensor logits, std::span<const int32_t> targets,
                   const GradientScale& scale);
}  // namespace cpu
namespace cuda {
void cross_entropy(Context& ctx, Tensor losses, Tensor logits, std::span<const int32_t> targets,
                   const GradientScale& scale);
}  // namespace cuda

}  // namespace tessera
