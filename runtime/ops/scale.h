// Multiplication by a constant, in place.
#pragma once

#include "runtime/core/context.h"
#include "runtime/core/tensor.h"

namespace tessera {

/// x *= factor, any shape; float32 or of the context's activation dtype.
void scale(Context& ctx, Tensor x, float factor);

namespace cpu {
void scale(Context& ctx, Tensor x, float factor);
}
namespace cuda {
void scale(Context& ctx, Tensor x, float factor);
}

}  // namespace tessera
