#include "runtime/ops/embedding.h"

#include "runtime/core/has_cuda.h"
#include "runtime/ops/shapes.h"
#include "runtime/ops/transfer.h"

namespace tessera {

void embedding(Context& ctx, Tensor y, Tensor table, std::span<const int32_t> ids) {
  TESSERA_CHECK(all_activations(ctx, {y}) && is_float_weight(ctx, table) && table.dims() == 2);
  TESSERA_CHECK(y.cols() == table.cols() && y.rows() == int64_t(ids.size()));
  if (ctx.measuring()) return plan_list(ctx, ids);
  for (int32_t id : ids) {
    if (id < 0 || id >= table.rows()) {
      fail("token id {} is not in the model's vocabulary of {}; tokenizer and model do not match",
           id, table.rows());
    }
  }
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return cuda::embedding(ctx, y, table, ids);
  }
  cpu::embedding(ctx, y, table, ids);
}

void embedding_backward(Context& ctx, Tensor dtable, Tensor dy, std::span<const int32_t> ids) {
  TESSERA_CHECK(all_activations(ctx, {dy}) && all_f32(ctx, {dtable}) && dtable.dims() == 2);
  TESSERA_CHECK(dy.cols() == dtable.cols() && dy.rows() == int64_t(ids.size()));
  if (ctx.measuring()) {
    ArenaScope scope(ctx.scratch());
    for (int list = 0; list < 2; ++list) to_device(ctx, ctx.scratch(), ids);
    return;
  }
  for (int32_t id : ids) TESSERA_CHECK(id >= -1 && id < dtable.rows());
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return cuda::embedding_backward(ctx, dtable, dy, ids);
  }
  cpu::embedding_backward(ctx, dtable, dy, ids);
}

}  // namespace tessera
