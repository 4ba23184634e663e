// Fills BaseWeights from a checkpoint, one tensor at a time: each is read and quantized by one
// rank, which sends every rank the bytes of its shard. A GPU quantizes what it will hold. Peak
// memory of a rank is its shard, one tensor and its blob; the 16-bit model never exists.
#pragma once

#include "lora/model/base_weights.h"
#include "lora/model/checkpoint.h"
#include "runtime/core/function_ref.h"

namespace tessera::lora {

/// Reports tensors done and in all; may throw to stop loading.
using LoadProgress = FunctionRef<void(int64_t done, int64_t total)>;

/// A format that keeps every weight as the checkpoint has it: in its dtype, or in the 4 bits that a
/// quantized folder holds, which is then that of `linear`. The norms' and biases' dtype is the last
/// norm's.
BaseFormat checkpoint_format(const Checkpoint& checkpoint);

/// Reads, checks (finite values only, else Error naming the tensor) and stores every tensor.
/// Collective over the world that `base` was made for. Returns a hash of all frozen bytes, which
/// does not depend on the ranks.
uint64_t load_base(Context& ctx, const Checkpoint& checkpoint, BaseWeights& base,
                   parallel::Communicator& world, LoadProgress progress);

}  // namespace tessera::lora
