// The negative log-likelihood of each target, with label_smoothing.
#include "lora/decoder/loss.h"
#include "runtime/ops/cross_entropy.h"

namespace tessera::lora {

void cross_entropy_loss(Context& ctx, const LossChunk& chunk) {
  cross_entropy(ctx, chunk.losses, chunk.logits, chunk.targets,
                {chunk.scale, chunk.weights, chunk.settings.label_smoothing});
}

}  // namespace tessera::lora
