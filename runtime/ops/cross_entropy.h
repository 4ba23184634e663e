// The cross-entropy of a softmax, with its gradient taking the place of the logits: the head works
// in chunks of tokens, so logits of a whole batch never exist. Losses are not summed here.
#pragma once

#include <span>

#include "runtime/core/context.h"
#include "runtime/core/tensor.h"

namespace tessera {

/// losses[N] = -log softmax(logits[i,:])[targets[i]] in nats, and logits[N,V] becomes
/// (softmax(logits) - onehot(targets)) * scale; losses are f32, logits of the context's activation
/// dtype, both overwritten. targets[N] in [0, V); Error otherwise. A NaN or +infinity among a row's
/// logits makes that row's loss NaN.
void cross_entropy(Context& ctx, Tensor losses, Tensor logits, std::span<const int32_t> targets,
                   float scale);

/// The same losses, bit for bit; logits are only read.
void cross_entropy_loss(Context& ctx, Tensor losses, Tensor logits,
                        std::span<const int32_t> targets);

namespace cpu {
void cross_entropy(Context& ctx, Tensor losses, Tensor logits, std::span<const int32_t> targets,
                   float scale);
void cross_entropy_loss(Context& ctx, Tensor losses, Tensor logits,
                        std::span<const int32_t> targets);
}  // namespace cpu
namespace cuda {
void cross_entropy(Context& ctx, Tensor losses, Tensor logits, std::span<const int32_t> targets,
                   float scale);
void cross_entropy_loss(Context& ctx, Tensor losses, Tensor logits,
                        std::span<const int32_t> targets);
}  // namespace cuda

}  // namespace tessera
