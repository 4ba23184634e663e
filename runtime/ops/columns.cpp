#include "runtime/ops/columns.h"

#include "runtime/core/has_cuda.h"
#include "runtime/ops/shapes.h"
#include "runtime/ops/transfer.h"

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

void check_listed(Context& ctx, const Tensor& listed, const Tensor& whole,
                  std::span<const int32_t> index) {
  TESSERA_CHECK(all_activations(ctx, {listed, whole}) && listed.rows() == whole.rows());
  TESSERA_CHECK(listed.cols() == int64_t(index.size()));
  for (int32_t column : index) TESSERA_CHECK(0 <= column && column < whole.cols());
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

void put_columns(Context& ctx, Tensor whole, Tensor listed, std::span<const int32_t> index) {
  check_listed(ctx, listed, whole, index);
  if (ctx.measuring()) return plan_list(ctx, index);
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return cuda::put_columns(ctx, whole, listed, index);
  }
  cpu::put_columns(ctx, whole, listed, index);
}

void take_columns(Context& ctx, Tensor listed, Tensor whole, std::span<const int32_t> index) {
  check_listed(ctx, listed, whole, index);
  if (ctx.measuring()) return plan_list(ctx, index);
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return cuda::take_columns(ctx, listed, whole, index);
  }
  cpu::take_columns(ctx, listed, whole, index);
}

}  // namespace tessera
