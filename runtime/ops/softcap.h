// Gemma 2's bound on logits, in place, computed in float32.
#pragma once

#include "runtime/core/context.h"
#include "runtime/core/tensor.h"

namespace tessera {

/// x becomes cap * tanh(x / cap); any shape, of the context's activation dtype; cap > 0.
void softcap(Context& ctx, Tensor x, float cap);

/// The gradient dx by softcap's output becomes the one by its input: dx *= 1 - (y / cap)^2, with y
/// as softcap left it.
void softcap_backward(Context& ctx, Tensor dx, Tensor y, float cap);

namespace cpu {
void softcap(Context& ctx, Tensor x, float cap);
void softcap_backward(Context& ctx, Tensor dx, Tensor y, float cap);
}  // namespace cpu
namespace cuda {
void softcap(Context& ctx, Tensor x, float cap);
void softcap_backward(Context& ctx, Tensor dx, Tensor y, float cap);
}  // namespace cuda

}  // namespace tessera
