// Values between the host and where a context computes, in order with its operators. On the CPU
// the two are the same memory.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/core/context.h"
#include "runtime/core/tensor.h"

namespace tessera {

/// `values` for operators: a view of them on the CPU, on a GPU a copy in `arena`. They may go away
/// after the call on a GPU only. [values.size()] i32.
Tensor to_device(Context& ctx, Arena& arena, std::span<const int32_t> values);
/// While memory is planned: the scratch of an operator that takes `values` to a GPU.
void plan_list(Context& ctx, std::span<const int32_t> values);

/// The values of a float tensor, widened exactly, when all operators before have run. Waits. While
/// memory is measured there are none.
std::vector<float> to_host(Context& ctx, Tensor x);

/// `bytes` bytes of the host to where the context computes. `from` may go away after the call.
void upload(Context& ctx, void* to, const void* from, size_t bytes);

/// `bytes` bytes from `from` to `to`, wherever they lie. On a GPU a host address must be valid
/// until the compute stream has got there.
void copy_bytes(Context& ctx, void* to, const void* from, size_t bytes);

/// y = x, of one shape and dtype, where the context computes.
void copy(Context& ctx, Tensor y, Tensor x);

/// x in `dtype`, rounded to nearest even: x itself where it has that dtype already, which on the
/// CPU it must; else a copy in scratch. Float dtypes.
Tensor as_dtype(Context& ctx, Tensor x, DType dtype);

namespace cuda {
void upload(Context& ctx, void* to, const void* from, size_t bytes);
void convert(Context& ctx, Tensor y, Tensor x);
}  // namespace cuda

}  // namespace tessera
