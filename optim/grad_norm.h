// The global L2 norm of a flat gradient buffer, and the clip factor made from it.
// Chunks of 4,096 elements from the start of the buffer are summed in float32, in 16 FMA chains
// (element i joins chain i mod 16) joined by halving; the chunk sums are added in double in index
// order. The bits depend neither on the thread count nor on the vector width.
#pragma once

#include <span>
#include <vector>

#include "runtime/core/context.h"
#include "runtime/core/tensor.h"

namespace tessera::optim {

/// Elements of one chunk. Slices of a buffer whose cuts are multiples of it have chunk sums that,
/// put together in order, are those of the whole buffer.
inline constexpr size_t kNormChunk = 4096;

/// The sum of squares of every chunk of `grads`, which lie on the context's device; the last chunk
/// may be short. On a GPU it waits, and takes scratch for the sums.
std::vector<float> chunk_sums(Context& ctx, std::span<const float> grads);

/// The norm of a buffer with these chunk sums: sqrt(sum of grads[i]^2). Infinite or NaN when a
/// gradient is, or when a chunk's sum of squares leaves float32's range: test with std::isfinite
/// before a step.
double norm_of(std::span<const float> sums);

/// What torch.nn.utils.clip_grad_norm_ multiplies gradients by, with its float32 roundings:
/// max_norm / (norm + 1e-6) where that is below 1, else exactly 1; NaN for a NaN norm.
/// max_norm = 0 means no clipping, as in Hugging Face's trainer: 1. Error (usage) if it is negative
/// or NaN.
float clip_factor(double norm, double max_norm);

namespace cpu {
/// Of one chunk, single-threaded.
float sum_of_squares(std::span<const float> values);
}  // namespace cpu

namespace cuda {
/// One float per chunk, on the device.
void chunk_sums(Context& ctx, Tensor sums, std::span<const float> grads);
}  // namespace cuda

}  // namespace tessera::optim
