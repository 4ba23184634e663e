// The token embedding, and the gradient of its table.
#pragma once

#include <span>

#include "runtime/core/context.h"
#include "runtime/core/tensor.h"

namespace tessera {

/// y[N,C] = table[ids[N],:]. y is of the context's activation dtype; table[V,C] is f32, bf16 or
/// f16, widened exactly. Throws Error for an id outside [0, V): the text was made with another
/// tokenizer than the model's.
void embedding(Context& ctx, Tensor y, Tensor table, std::span<const int32_t> ids);

/// dtable[ids[i],:] += dy[i,:] for i = 0, 1, ... in this order: dtable[V,C] in float32, dy[N,C] of
/// the context's activation dtype. Ids are those of the forward, or -1 for a token that is passed
/// over. They may go away after the call.
void embedding_backward(Context& ctx, Tensor dtable, Tensor dy, std::span<const int32_t> ids);

namespace cpu {
void embedding(Context& ctx, Tensor y, Tensor table, std::span<const int32_t> ids);
void embedding_backward(Context& ctx, Tensor dtable, Tensor dy, std::span<const int32_t> ids);
}  // namespace cpu
namespace cuda {
void embedding(Context& ctx, Tensor y, Tensor table, std::span<const int32_t> ids);
void embedding_backward(Context& ctx, Tensor dtable, Tensor dy, std::span<const int32_t> ids);
}  // namespace cuda

}  // namespace tessera
