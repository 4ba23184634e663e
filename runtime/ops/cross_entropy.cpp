#include "runtime/ops/cross_entropy.h"

#include "runtime/core/has_cuda.h"
#include "runtime/ops/shapes.h"
#include "runtime/ops/transfer.h"

namespace tessera {
namespace {

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
                   const CrossEntropyOptions& options) {
  const int64_t rows = logits.rows();
  TESSERA_CHECK(all_f32(ctx, {losses}) && all_activations(ctx, {logits}) && logits.dims() == 2);
  TESSERA_CHECK(losses.numel() == rows && int64_t(targets.size()) == rows);
  const Tensor& weights = options.weights;
  TESSERA_CHECK(!weights || (all_f32(ctx, {weights}) && weights.numel() == rows));
  TESSERA_CHECK(0.0f <= options.smoothing && options.smoothing < 1.0f);
  if (ctx.measuring()) return plan_list(ctx, targets);
  check_targets(logits, targets);
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return cuda::cross_entropy(ctx, losses, logits, targets, options);
  }
  cpu::cross_entropy(ctx, losses, logits, targets, options);
}

}  // namespace tessera
