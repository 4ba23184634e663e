// SwiGLU of the context's activation dtype, computed in float32. Unlike other backwards this one
// overwrites: it is the only consumer of what it writes, and so the gradients can take the place of
// the saved gate and up.
#pragma once

#include "runtime/core/context.h"
#include "runtime/core/tensor.h"

namespace tessera {

/// y[N,F] = silu(gate) * up with silu(z) = z / (1 + e^-z). y may be gate or up.
void swiglu(Context& ctx, Tensor y, Tensor gate, Tensor up);

/// dgate = dy * up * s * (1 + gate * (1 - s)) with s = 1 / (1 + e^-gate), and dup = dy *
/// silu(gate); all [N,F]. Overwrites; dgate may be gate and dup may be up (or either may be dy).
void swiglu_backward(Context& ctx, Tensor dgate, Tensor dup, Tensor dy, Tensor gate, Tensor up);

namespace cpu {
void swiglu(Context& ctx, Tensor y, Tensor gate, Tensor up);
void swiglu_backward(Context& ctx, Tensor dgate, Tensor dup, Tensor dy, Tensor gate, Tensor up);
}  // namespace cpu
namespace cuda {
void swiglu(Context& ctx, Tensor y, Tensor gate, Tensor up);
void swiglu_backward(Context& ctx, Tensor dgate, Tensor dup, Tensor dy, Tensor gate, Tensor up);
}  // namespace cuda

}  // namespace tessera
