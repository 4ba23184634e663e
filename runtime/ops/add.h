// The residual addition. Its backward is itself: a gradient is added where it flows.
#pragma once

#include "runtime/core/context.h"
#include "runtime/core/tensor.h"

namespace tessera {

/// y += x; both of one shape, and float32 or of the context's activation dtype. x may be y.
void add(Context& ctx, Tensor y, Tensor x);

namespace cpu {
void add(Context& ctx, Tensor y, Tensor x);
}
namespace cuda {
void add(Context& ctx, Tensor y, Tensor x);
}

}  // namespace tessera
