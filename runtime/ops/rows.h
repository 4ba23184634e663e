// Moving rows of a matrix: gather, scatter, clear.
#pragma once

#include <span>

#include "runtime/core/context.h"
#include "runtime/core/tensor.h"

namespace tessera {

/// y[i,:] = x[index[i],:]; float32.
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
