// Noise that is a pure function of its key and the element's index, as a dropout mask is
// (runtime/ops/dropout.h). It is added to a tensor, so a gradient passes through unchanged.
#pragma once

#include "runtime/core/context.h"
#include "runtime/core/tensor.h"
#include "runtime/ops/dropout.h"

namespace tessera {

/// x += bound * u, with u uniform in [-1, 1): element e has u = (w >> 8) * 2^-23 - 1, exactly,
/// where w is word e % 4 of philox(dropout_counter(key, e / 4), dropout_key(key)). x is of the
/// context's activation dtype, with at most 2^42 elements; the product is rounded to float32, the
/// sum to x's type. bound is finite and not negative.
void add_noise(Context& ctx, Tensor x, const DropoutKey& key, float bound);

constexpr float noise_of(uint32_t word) { return float(word >> 8) * 0x1p-23f - 1.0f; }

namespace cpu {
void add_noise(Context& ctx, Tensor x, const DropoutKey& key, float bound);
}  // namespace cpu
namespace cuda {
void add_noise(Context& ctx, Tensor x, const DropoutKey& key, float bound);
}  // namespace cuda

}  // namespace tessera
