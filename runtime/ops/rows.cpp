#include "runtime/ops/rows.h"

#include "runtime/core/has_cuda.h"
#include "runtime/ops/shapes.h"
#include "runtime/ops/transfer.h"

namespace tessera {
namespace {

void check_rows(Context& ctx, const Tensor& y, const Tensor& x) {
  TESSERA_CHECK(is_float(x.dtype()) && all_of(ctx, x.dtype(), {y, x}) && y.cols() == x.cols());
}

void check_index(std::span<const int32_t> index, int64_t rows) {
  for (int32_t i : index) TESSERA_CHECK(0 <= i && i < rows);
}

}  // namespace

void gather_rows(Context& ctx, Tensor y, Tensor x, std::span<const int32_t> index) {
  check_rows(ctx, y, x);
  TESSERA_CHECK(y.rows() == int64_t(index.size()));
  if (ctx.measuring()) return plan_list(ctx, index);
  check_index(index, x.rows());
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return cuda::gather_rows(ctx, y, x, index);
  }
  cpu::gather_rows(ctx, y, x, index);
}

void scatter_rows(Context& ctx, Tensor y, Tensor x, std::span<const int32_t> index) {
  check_rows(ctx, y, x);
  TESSERA_CHECK(x.rows() == int64_t(index.size()));
  if (ctx.measuring()) return plan_list(ctx, index);
  check_index(index, y.rows());
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return cuda::scatter_rows(ctx, y, x, index);
  }
  cpu::scatter_rows(ctx, y, x, index);
}

void fill_zero(Context& ctx, Tensor x) {
  TESSERA_CHECK(x.device() == ctx.device());
  if (ctx.measuring()) return;
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return cuda::fill_zero(ctx, x);
  }
  cpu::fill_zero(ctx, x);
}

}  // namespace tessera
