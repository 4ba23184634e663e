#include "optim/grad_norm.h"

#include <algorithm>
#include <cmath>

#include "runtime/core/error.h"
#include "runtime/core/has_cuda.h"
#include "runtime/cpu/parallel.h"
#include "runtime/ops/transfer.h"

namespace tessera::optim {

std::vector<float> chunk_sums(Context& ctx, std::span<const float> grads) {
  constexpr int64_t kChunksPerTask = 16;
  const int64_t chunks = int64_t((grads.size() + kNormChunk - 1) / kNormChunk);
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) {
      const ArenaScope scope(ctx.scratch());
      const Tensor sums = ctx.scratch().f32({chunks});
      cuda::chunk_sums(ctx, sums, grads);
      return to_host(ctx, sums);
    }
  }
  std::vector<float> sums(static_cast<size_t>(chunks));
  const int64_t tasks = (chunks + kChunksPerTask - 1) / kChunksPerTask;
  tessera::cpu::parallel_for(ctx.threads(), tasks, [&](int64_t task) {
    const int64_t end = std::min(chunks, (task + 1) * kChunksPerTask);
    for (int64_t chunk = task * kChunksPerTask; chunk < end; ++chunk) {
      const size_t begin = size_t(chunk) * kNormChunk;
      sums[size_t(chunk)] =
          cpu::sum_of_squares(grads.subspan(begin, std::min(kNormChunk, grads.size() - begin)));
    }
  });
  return sums;
}

double norm_of(std::span<const float> sums) {
  double total = 0.0;
  for (float sum : sums) total += double(sum);
  return std::sqrt(total);
}

float clip_factor(double norm, double max_norm) {
  if (!(max_norm >= 0.0)) fail_usage("max_grad_norm must not be negative, but is {}", max_norm);
  if (max_norm == 0.0) return 1.0f;
  // torch divides a number by a tensor as number * (1 / tensor).
  const float factor = 1.0f / (float(norm) + 1e-6f) * float(max_norm);
  return factor > 1.0f ? 1.0f : factor;
}

}  // namespace tessera::optim
