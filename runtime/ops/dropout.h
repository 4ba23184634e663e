// Dropout whose mask is a pure function of its key and the element's index, so that a recomputed
// forward, a backward, any thread count and any number of ranks see the same one.
#pragma once

#include <cstdint>

#include "runtime/core/context.h"
#include "runtime/core/philox.h"
#include "runtime/core/tensor.h"

namespace tessera {

/// Names one mask of a run.
struct DropoutKey {
  uint64_t seed;
  uint64_t step;         // below 2^32
  uint64_t micro_batch;  // its index in the global batch, below 2^32
  uint64_t layer;        // below 2^16
  uint64_t site;         // which tensor of the layer, below 2^8
};

/// Error (a bug) unless each part is below its bound.
void check_key(const DropoutKey& key);

/// y = keep ? x / (1 - p) : 0 with 0 <= p < 1; both of the context's activation dtype and of one
/// shape of at most 2^42 elements. Element e is dropped where word e % 4 of
/// philox(dropout_counter(key, e / 4), dropout_key(key)) is below p * 2^32. y may be x.
void dropout(Context& ctx, Tensor y, Tensor x, const DropoutKey& key, float p);

/// dx += keep ? dy / (1 - p) : 0, with the mask of the forward of the same key.
void dropout_backward(Context& ctx, Tensor dx, Tensor dy, const DropoutKey& key, float p);

/// What both backends compute the mask from.
struct DropoutMask {
  DropoutKey key;
  uint32_t threshold;  // words below it drop
  float scale;         // of what is kept
};
constexpr DropoutMask dropout_mask(const DropoutKey& key, float p) {
  return {key, uint32_t(double(p) * 0x1p32 + 0.5), float(1.0 / (1.0 - double(p)))};
}
constexpr PhiloxKey dropout_key(const DropoutKey& key) {
  return {{uint32_t(key.seed), uint32_t(key.seed >> 32)}};
}
/// The counter of elements 4 * group to 4 * group + 3.
constexpr PhiloxCounter dropout_counter(const DropoutKey& key, uint64_t group) {
  return {{uint32_t(group), uint32_t(key.layer << 16 | key.site << 8 | group >> 32),
           uint32_t(key.step), uint32_t(key.micro_batch)}};
}

namespace cpu {
void dropout(Context& ctx, Tensor y, Tensor x, const DropoutKey& key, float p);
void dropout_backward(Context& ctx, Tensor dx, Tensor dy, const DropoutKey& key, float p);
}  // namespace cpu
namespace cuda {
void dropout(Context& ctx, Tensor y, Tensor x, const DropoutKey& key, float p);
void dropout_backward(Context& ctx, Tensor dx, Tensor dy, const DropoutKey& key, float p);
}  // namespace cuda

}  // namespace tessera
