// Additions in place: the residual's, whose backward is itself (a gradient is added where it
// flows), and a frozen bias's, which has none.
#pragma once

#include "runtime/core/context.h"
#include "runtime/core/tensor.h"

namespace tessera {

/// y += x; both of one shape, and float32 or of the context's activation dtype. x may be y.
void add(Context& ctx, Tensor y, Tensor x);

/// y[N,C] += bias[C] in every row. y is of the context's activation dtype; bias is f32, bf16 or
/// f16, widened exactly.
void add_bias(Context& ctx, Tensor y, Tensor bias);

namespace cpu {
void add(Context& ctx, Tensor y, Tensor x);
void add_bias(Context& ctx, Tensor y, Tensor bias);
}  // namespace cpu
namespace cuda {
void add(Context& ctx, Tensor y, Tensor x);
void add_bias(Context& ctx, Tensor y, Tensor bias);
}  // namespace cuda

}  // namespace tessera
