// Products with a frozen weight, and the LoRA update that rides on them in the same output tile.
// The context's compute type says what W and the other operand are rounded to before they meet;
// sums are float32. On the CPU the update is, too; on a GPU its operands have the activations'
// type.
#pragma once

#include "quant/frozen_matrix.h"
#include "runtime/core/context.h"
#include "runtime/core/tensor.h"

namespace tessera::quant {

/// On the CPU a product decodes each weight once for as many rows of x.
inline constexpr int64_t kRowsOfDecoding = 1026;

/// A rank-R addition to the product: left[N,R] times right. Empty tensors: no addition.
struct LowRank {
  Tensor left;
  Tensor right;
};

/// y[N,out] = x[N,in] * W^T + left[N,R] * right[out,R]^T.
void frozen_matmul(Context& ctx, Tensor y, Tensor x, const FrozenMatrix& w, LowRank update);

/// dx[N,in] (+)= dy[N,out] * W + left[N,R] * right[R,in].
void frozen_matmul_backward(Context& ctx, Tensor dx, Tensor dy, const FrozenMatrix& w,
                            LowRank update, bool accumulate);

namespace cuda {
void frozen_matmul(Context& ctx, Tensor y, Tensor x, const FrozenMatrix& w, LowRank update);
void frozen_matmul_backward(Context& ctx, Tensor dx, Tensor dy, const FrozenMatrix& w,
                            LowRank update, bool accumulate);
}  // namespace cuda

}  // namespace tessera::quant
