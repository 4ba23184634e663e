#include "lora/decoder/loss.h"

namespace tessera::lora {

// Each in a file of its name.
void cross_entropy_loss(Context& ctx, const LossChunk& chunk);

namespace {

constexpr Loss kLosses[] = {
    {"cross_entropy", cross_entropy_loss},
};

}  // namespace

std::span<const Loss> losses() { return kLosses; }

const Loss& default_loss() { return kLosses[0]; }

}  // namespace tessera::lora
