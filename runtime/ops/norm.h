// RMSNorm over the last dimension, computed in float32. The weight is frozen: there is no gradient
// for it. x, y and their gradients are of the context's activation dtype, rstd is float32.
// The forward overwrites, the backward accumulates.
#pragma once

#include "runtime/core/context.h"
#include "runtime/core/tensor.h"

namespace tessera {

/// y[N,C] = (x * rstd) * w with rstd[N] = 1 / sqrt(mean(x^2) + eps), rounded in the order of
/// transformers' LlamaRMSNorm. x[N,C]; w[C] is f32, bf16 or f16, widened exactly. y may be x.
void rmsnorm(Context& ctx, Tensor y, Tensor rstd, Tensor x, Tensor w, float eps);

/// dx[N,C] += rstd * (g - n * mean(g * n)) with n = x * rstd and g = dy * w. rstd is the forward's.
void rmsnorm_backward(Context& ctx, Tensor dx, Tensor dy, Tensor x, Tensor w, Tensor rstd);

namespace cpu {
void rmsnorm(Context& ctx, Tensor y, Tensor rstd, Tensor x, Tensor w, float eps);
void rmsnorm_backward(Context& ctx, Tensor dx, Tensor dy, Tensor x, Tensor w, Tensor rstd);
}  // namespace cpu
namespace cuda {
void rmsnorm(Context& ctx, Tensor y, Tensor rstd, Tensor x, Tensor w, float eps);
void rmsnorm_backward(Context& ctx, Tensor dx, Tensor dy, Tensor x, Tensor w, Tensor rstd);
}  // namespace cuda

}  // namespace tessera
