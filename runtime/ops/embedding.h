// The token embedding. The table is frozen, so there is no backward.
#pragma once

#include <span>

#include "runtime/core/context.h"
#include "runtime/core/tensor.h"

namespace tessera {

/// y[N,C] = table[ids[N],:]. y is of the context's activation dtype; table[V,C] is f32, bf16 or
/// f16, widened exactly. Throws Error for an id outside [0, V): the text was made with another
/// tokenizer than the model's.
void embedding(Context& ctx, Tensor y, Tensor table, std::span<const int32_t> ids);

namespace cpu {
void embedding(Context& ctx, Tensor y, Tensor table, std::span<const int32_t> ids);
}
namespace cuda {
void embedding(Context& ctx, Tensor y, Tensor table, std::span<const int32_t> ids);
}

}  // namespace tessera
