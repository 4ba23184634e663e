// RMSNorm over the last dimension, computed in float32. The weight is frozen: there is no gradient
// for it. x, y and their gradients are of the context's activation dtype, rstd is float32.
// The forward overwrites, the backward accumulates.
#pragma once

#include "runtime/core/context.h"
#include "runtime/core/tensor.h"

namespace tessera {

/// The frozen part of a norm over C elements.
struct RmsNorm {
  Tensor weight{};  // w[C]: f32, bf16 or f16, widened exactly
  float eps = 0.0f;
  float plus = 0.0f;  // added to every weight: 1 where a model keeps w - 1, as Gemma does
};

/// y[N,C] = (x * rstd) * (w + plus) with rstd[N] = 1 / sqrt(mean(x^2) + eps), rounded in the order
/// of transformers' LlamaRMSNorm and GemmaRMSNorm. x[N,C]; y may be x.
void rmsnorm(Context& ctx, Tensor y, Tensor rstd, Tensor x, const RmsNorm& norm);

/// dx[N,C] += rstd * (g - n * mean(g * n)) with n = x * rstd and g = dy * (w + plus). rstd is the
/// forward's.
void rmsnorm_backward(Context& ctx, Tensor dx, Tensor dy, Tensor x, const RmsNorm& norm,
                      Tensor rstd);

namespace cpu {
void rmsnorm(Context& ctx, Tensor y, Tensor rstd, Tensor x, const RmsNorm& norm);
void rmsnorm_backward(Context& ctx, Tensor dx, Tensor dy, Tensor x, const RmsNorm& norm,
                      Tensor rstd);
}  // namespace cpu
namespace cuda {
void rmsnorm(Context& ctx, Tensor y, Tensor rstd, Tensor x, const RmsNorm& norm);
void rmsnorm_backward(Context& ctx, Tensor dx, Tensor dy, Tensor x, const RmsNorm& norm,
                      Tensor rstd);
}  // namespace cuda

}  // namespace tessera
