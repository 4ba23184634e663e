// Twice the negative log-likelihood of each target.
#include "lora/decoder/loss.h"
#include "runtime/ops/cross_entropy.h"
#include "runtime/ops/scale.h"

namespace tessera::lora {

void twice_loss(Context& ctx, const LossChunk& chunk) {
  cross_entropy(ctx, chunk.losses, chunk.logits, chunk.targets,
                {2.0f * chunk.scale, chunk.weights});
  scale(ctx, chunk.losses, 2.0f);
}

}  // namespace tessera::lora
