// The gated linear unit of the context's activation dtype, computed in float32. Unlike other
// backwards this one overwrites: it is the only consumer of what it writes, and so the gradients
// can take the place of the saved gate and up.
#pragma once

#include <cstdint>

#include "runtime/core/context.h"
#include "runtime/core/tensor.h"

namespace tessera {

/// act(z) = z * s(a(z)) with s(a) = 1 / (1 + e^-a). GELU's approximation by tanh is of that form,
/// for (1 + tanh(a / 2)) / 2 = s(a).
enum class Activation : uint8_t {
  kSilu,      // a(z) = z
  kGeluTanh,  // a(z) = 2 sqrt(2 / pi) (z + 0.044715 z^3)
};

struct GluInput {
  Tensor gate;  // [N,F]
  Tensor up;    // [N,F]
  Activation activation;
};

/// y[N,F] = act(gate) * up. y may be gate or up.
void glu(Context& ctx, Tensor y, const GluInput& in);

/// dgate = dy * up * act'(gate) with act'(z) = s * (1 + z * a'(z) * (1 - s)), and dup = dy *
/// act(gate); all [N,F]. Overwrites; dgate may be gate and dup may be up (or either may be dy).
void glu_backward(Context& ctx, Tensor dgate, Tensor dup, Tensor dy, const GluInput& in);

namespace cpu {
void glu(Context& ctx, Tensor y, const GluInput& in);
void glu_backward(Context& ctx, Tensor dgate, Tensor dup, Tensor dy, const GluInput& in);
}  // namespace cpu
namespace cuda {
void glu(Context& ctx, Tensor y, const GluInput& in);
void glu_backward(Context& ctx, Tensor dgate, Tensor dup, Tensor dy, const GluInput& in);
}  // namespace cuda

}  // namespace tessera
