// One matrix and the matrices that stand side by side in it: what a fused projection makes of
// queries, keys and values, or of gate and up.
#pragma once

#include <span>

#include "runtime/core/context.h"
#include "runtime/core/tensor.h"

namespace tessera {

/// parts[i][N,Ci] = the columns of whole[N, sum of Ci], in order. All of the context's activation
/// dtype; parts and whole do not overlap.
void split_columns(Context& ctx, std::span<const Tensor> parts, Tensor whole);
/// The inverse: whole[N, sum of Ci] from its parts.
void join_columns(Context& ctx, Tensor whole, std::span<const Tensor> parts);

namespace cpu {
void split_columns(Context& ctx, std::span<const Tensor> parts, Tensor whole);
void join_columns(Context& ctx, Tensor whole, std::span<const Tensor> parts);
}  // namespace cpu
namespace cuda {
void split_columns(Context& ctx, std::span<const Tensor> parts, Tensor whole);
void join_columns(Context& ctx, Tensor whole, std::span<const Tensor> parts);
}  // namespace cuda

}  // namespace tessera
