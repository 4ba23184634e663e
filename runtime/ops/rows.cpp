#include "runtime/ops/rows.h"

namespace tessera {

void gather_rows(Context& ctx, Tensor y, Tensor x, std::span<const int32_t> index) {
  TESSERA_CHECK(y.cols() == x.cols() && y.rows() == int64_t(index.size()));
  if (ctx.measuring()) return;
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return cuda::gather_rows(ctx, y, x, index);
  }
  cpu::gather_rows(ctx, y, x, index);
}

void scatter_rows(Context& ctx, Tensor y, Tensor x, std::span<const int32_t> index) {
  TESSERA_CHECK(y.cols() == x.cols() && x.rows() == int64_t(index.size()));
  if (ctx.measuring()) return;
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return cuda::scatter_rows(ctx, y, x, index);
  }
  cpu::scatter_rows(ctx, y, x, index);
}

void fill_zero(Context& ctx, Tensor x) {
  if (ctx.measuring()) return;
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return cuda::fill_zero(ctx, x);
  }
  cpu::fill_zero(ctx, x);
}

}  // namespace tessera
