// Moving rows of a matrix: gather, scatter, clear. float32 on the CPU, any one float dtype on a
// GPU. An index outside of the matrix is a bug.
#pragma once

#include <span>

#include "runtime/core/context.h"
#include "runtime/core/tensor.h"

namespace tessera {

/// y[i,:] = x[index[i],:].
void gather_rows(Context& ctx, Tensor y, Tensor x, std::span<const int32_t> index);
/// y[index[i],:] = x[i,:]; the indices are distinct.
void scatter_rows(Context& ctx, Tensor y, Tensor x, std::span<const int32_t> index);
void fill_zero(Context& ctx, Tensor x);

namespace cpu {
void gather_rows(Context& ctx, Tensor y, Tensor x, std::span<const int32_t> index);
void scatter_rows(Context& ctx, Tensor y, Tensor x, std::span<const int32_t> index);
void fill_zero(Context& ctx, Tensor x);
}  // namespace cpu
namespace cuda {
void gather_rows(Context& ctx, Tensor y, Tensor x, std::span<const int32_t> index);
void scatter_rows(Context& ctx, Tensor y, Tensor x, std::span<const int32_t> index);
void fill_zero(Context& ctx, Tensor x);
}  // namespace cuda

}  // namespace tessera
