// Rotary position embedding in Hugging Face's layout: element i of a head turns with element
// i + D/2 by an angle of position * frequency[i]. In place; the backward is the inverse turn. Heads
// are of the context's activation dtype, tables and arithmetic float32.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/core/context.h"
#include "runtime/core/tensor.h"

namespace tessera {

struct RopeScaling {
  enum class Kind { kNone, kLinear, kLlama3 };
  Kind kind = Kind::kNone;
  double factor = 1.0;
  double low_freq_factor = 1.0;  // llama3 only, as the two below
  double high_freq_factor = 4.0;
  int64_t original_max_position = 8192;
};

/// The D/2 angles in radians that a head of D elements turns by per position: theta^(-2i/D),
/// scaled as transformers' modeling_rope_utils does, float32 in every step as there.
std::vector<float> rope_frequencies(int64_t head_dim, double theta, const RopeScaling& scaling);

/// Fills cos[P,D/2] and sin[P,D/2], f32 in host memory, for positions 0 to P-1: those of the
/// float32 product position * frequency, rounded once. The same bits on every machine.
void rope_table(Tensor cos, Tensor sin, double theta, const RopeScaling& scaling);

/// Turns x[N,H*D] in place; positions[N] i32 are rows of cos[P,D/2] and sin[P,D/2] (a GPU
/// does not check that).
/// x1' = x1 cos - x2 sin, x2' = x2 cos + x1 sin for the two halves of each head.
void rope(Context& ctx, Tensor x, Tensor positions, Tensor cos, Tensor sin);

/// Turns a gradient dx[N,H*D] back, in place: the gradient by rope's output becomes the one by its
/// input.
void rope_backward(Context& ctx, Tensor dx, Tensor positions, Tensor cos, Tensor sin);

namespace cpu {
void rope(Context& ctx, Tensor x, Tensor positions, Tensor cos, Tensor sin);
void rope_backward(Context& ctx, Tensor dx, Tensor positions, Tensor cos, Tensor sin);
}  // namespace cpu
namespace cuda {
void rope(Context& ctx, Tensor x, Tensor positions, Tensor cos, Tensor sin);
void rope_backward(Context& ctx, Tensor dx, Tensor positions, Tensor cos, Tensor sin);
}  // namespace cuda

}  // namespace tessera
