#include "runtime/ops/scale.h"

#include <algorithm>

#include "runtime/cpu/parallel.h"

namespace tessera::cpu {

void scale(Context& ctx, Tensor x, float factor) {
  constexpr int64_t kChunk = 1 << 16;
  const std::span<float> values = x.span<float>();
  const int64_t n = int64_t(values.size());
  parallel_for(ctx.threads(), (n + kChunk - 1) / kChunk, [&](int64_t task) {
    const int64_t end = std::min(n, (task + 1) * kChunk);
    for (int64_t i = task * kChunk; i < end; ++i) values[size_t(i)] *= factor;
  });
}

}  // namespace tessera::cpu
