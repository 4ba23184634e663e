#include "runtime/ops/transfer.h"

#include "runtime/core/has_cuda.h"
#include "runtime/ops/shapes.h"

namespace tessera {

Tensor to_device(Context& ctx, Arena& arena, std::span<const int32_t> values) {
  const auto n = int64_t(values.size());
  if (!ctx.device().is_cuda()) return Tensor::of(values, {n});
  const Tensor there = arena.tensor(DType::kI32, {n});
  if (!ctx.measuring()) upload(ctx, there.raw(), values.data(), values.size_bytes());
  return there;
}

void plan_list(Context& ctx, std::span<const int32_t> values) {
  ArenaScope scope(ctx.scratch());
  to_device(ctx, ctx.scratch(), values);
}

std::vector<float> to_host(Context& ctx, Tensor x) {
  TESSERA_CHECK(is_float(x.dtype()));
  if (ctx.measuring()) return {};
  std::vector<float> values(size_t(x.numel()));
  std::vector<std::byte> bytes(x.bytes());
  copy_bytes(ctx, bytes.data(), x.raw(), x.bytes());
  ctx.compute_stream().synchronize();
  to_floats(x.dtype(), bytes, values);
  return values;
}

void upload(Context& ctx, void* to, const void* from, size_t bytes) {
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return cuda::upload(ctx, to, from, bytes);
  }
  copy_bytes(ctx, to, from, bytes);
}

void copy_bytes(Context& ctx, void* to, const void* from, size_t bytes) {
  ctx.compute_stream().copy(to, from, bytes);
}

void copy(Context& ctx, Tensor y, Tensor x) {
  TESSERA_CHECK(same_shape(y, x) && all_of(ctx, x.dtype(), {y, x}));
  if (!ctx.measuring()) copy_bytes(ctx, y.raw(), x.raw(), x.bytes());
}

Tensor as_dtype(Context& ctx, Tensor x, DType dtype) {
  TESSERA_CHECK(is_float(dtype) && is_float(x.dtype()));
  if (x.dtype() == dtype) return x;
  TESSERA_CHECK(ctx.device().is_cuda() && x.dims() == 2);
  const Tensor y = ctx.scratch().tensor(dtype, {x.dim(0), x.dim(1)});
  if constexpr (kHasCuda) {
    if (!ctx.measuring()) cuda::convert(ctx, y, x);
  }
  return y;
}

}  // namespace tessera
