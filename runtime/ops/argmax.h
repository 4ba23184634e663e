// Where each row is largest: the token that a model holds to be the most likely one. Like the loss,
// it sees the head's logits in chunks.
#pragma once

#include "runtime/core/context.h"
#include "runtime/core/tensor.h"

namespace tessera {

/// columns[N] i32 = the column of the largest of logits[i,:], the lowest of several; logits[N,V] of
/// the context's activation dtype. NaN is never the largest. A row of NaN and -infinity alone gives
/// column 0.
void argmax(Context& ctx, Tensor columns, Tensor logits);

namespace cpu {
void argmax(Context& ctx, Tensor columns, Tensor logits);
}  // namespace cpu
namespace cuda {
void argmax(Context& ctx, Tensor columns, Tensor logits);
}  // namespace cuda

}  // namespace tessera
