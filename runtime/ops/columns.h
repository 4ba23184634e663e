// Columns of a matrix: those that stand side by side in what a fused projection makes of queries,
// keys and values, or of gate and up; and those of a list, such as the logits of some tokens.
#pragma once

#include <cstdint>
#include <span>

#include "runtime/core/context.h"
#include "runtime/core/tensor.h"

namespace tessera {

/// parts[i][N,Ci] = the columns of whole[N, sum of Ci], in order. All of the context's activation
/// dtype; parts and whole do not overlap.
void split_columns(Context& ctx, std::span<const Tensor> parts, Tensor whole);
/// The inverse: whole[N, sum of Ci] from its parts.
void join_columns(Context& ctx, Tensor whole, std::span<const Tensor> parts);

/// whole[:,index[k]] = listed[:,k] of listed[N,K] and whole[N,C], and the inverse, after which the
/// columns are zero in the whole. Both of the context's activation dtype. The indices are distinct
/// and may go away after the call; one outside of the matrix is a bug.
void put_columns(Context& ctx, Tensor whole, Tensor listed, std::span<const int32_t> index);
void take_columns(Context& ctx, Tensor listed, Tensor whole, std::span<const int32_t> index);

namespace cpu {
void split_columns(Context& ctx, std::span<const Tensor> parts, Tensor whole);
void join_columns(Context& ctx, Tensor whole, std::span<const Tensor> parts);
void put_columns(Context& ctx, Tensor whole, Tensor listed, std::span<const int32_t> index);
void take_columns(Context& ctx, Tensor listed, Tensor whole, std::span<const int32_t> index);
}  // namespace cpu
namespace cuda {
void split_columns(Context& ctx, std::span<const Tensor> parts, Tensor whole);
void join_columns(Context& ctx, Tensor whole, std::span<const Tensor> parts);
void put_columns(Context& ctx, Tensor whole, Tensor listed, std::span<const int32_t> index);
void take_columns(Context& ctx, Tensor listed, Tensor whole, std::span<const int32_t> index);
}  // namespace cuda

}  // namespace tessera
