#include "runtime/ops/cross_entropy.h"

#include "runtime/core/has_cuda.h"
#include "runtime/ops/shapes.h"
#include "runtime/ops/transfer.h"

namespace tessera {
namespace {

void check_shapes(Context& ctx, const Tensor& losses, const Tensor& logits, size_t targets) {
  TESSERA_CHECK(all_f32(ctx, {losses}) && all_activations(ctx, {logits}) && logits.dims() == 2);
  TESSERA_CHECK(losses.numel() == logits.rows() && int64_t(targets) == logits.rows());
}

void check_targets(const Tensor& logits, std::span<const int32_t> targets) {
  for (int32_t target : targets) {
    if (target < 0 || target >= logits.cols()) {
      fail(
          "target token {} is not in the model's vocabulary of {}; tokenizer and model do not "
          "match",
          target, logits.cols());
    }
  }
}

}  // namespace

void cross_entropy(Context& ctx, Tensor losses, Tensor logits, std::span<const int32_t> targets,
                   float scale) {
  check_shapes(ctx, losses, logits, targets.size());
  if (ctx.measuring()) return plan_list(ctx, targets);
  check_targets(logits, targets);
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return cuda::cross_entropy(ctx, losses, logits, targets, scale);
  }
  cpu::cross_entropy(ctx, losses, logits, targets, scale);
}

void cross_entropy_loss(Context& ctx, Tensor losses, Tensor logits,
                        std::span<const int32_t> targets) {
  check_shapes(ctx, losses, logits, targets.size());
  if (ctx.measuring()) return plan_list(ctx, targets);
  check_targets(logits, targets);
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return cuda::cross_entropy_loss(ctx, losses, logits, targets);
  }
  cpu::cross_entropy_loss(ctx, losses, logits, targets);
}

}  // namespace tessera
