#include "runtime/ops/columns.h"

#include "runtime/core/has_cuda.h"
#include "runtime/ops/shapes.h"

namespace tessera {
namespace {

void check_columns(Context& ctx, std::span<const Tensor> parts, const Tensor& whole) {
  TESSERA_CHECK(all_activations(ctx, {whole}));
  int64_t columns = 0;
  for (const Tensor& part : parts) {
    TESSERA_CHECK(all_activations(ctx, {part}) && part.rows() == whole.rows());
    columns += part.cols();
  }
  TESSERA_CHECK(columns == whole.cols());
}

}  // namespace

void split_columns(Context& ctx, std::span<const Tensor> parts, Tensor whole) {
  check_columns(ctx, parts, whole);
  if (ctx.measuring()) return;
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return cuda::split_columns(ctx, parts, whole);
  }
  cpu::split_columns(ctx, parts, whole);
}

void join_columns(Context& ctx, Tensor whole, std::span<const Tensor> parts) {
  check_columns(ctx, parts, whole);
  if (ctx.measuring()) return;
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return cuda::join_columns(ctx, whole, parts);
  }
  cpu::join_columns(ctx, whole, parts);
}

}  // namespace tessera
