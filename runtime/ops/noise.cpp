#include "runtime/ops/noise.h"

#include <cmath>

#include "runtime/core/has_cuda.h"
#include "runtime/ops/shapes.h"

namespace tessera {

void add_noise(Context& ctx, Tensor x, const DropoutKey& key, float bound) {
  TESSERA_CHECK(all_activations(ctx, {x}) && x.numel() <= int64_t{1} << 42);
  TESSERA_CHECK(bound >= 0.0f && std::isfinite(bound));
  check_key(key);
  if (ctx.measuring()) return;
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return cuda::add_noise(ctx, x, key, bound);
  }
  cpu::add_noise(ctx, x, key, bound);
}

}  // namespace tessera
