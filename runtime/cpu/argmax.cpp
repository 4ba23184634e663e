#include "runtime/ops/argmax.h"

#include <limits>

#include "runtime/cpu/parallel.h"

namespace tessera::cpu {
namespace {

// One compare for each logit, against hundreds of products that made it.
int32_t largest_of(const float* x, int64_t n) {
  float largest = -std::numeric_limits<float>::infinity();
  int64_t at = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (x[i] > largest) {
      largest = x[i];
      at = i;
    }
  }
  return int32_t(at);
}

}  // namespace

void argmax(Context& ctx, Tensor columns, Tensor logits) {
  int32_t* out = columns.data<int32_t>();
  const float* x = logits.data<float>();
  const int64_t n = logits.cols();
  parallel_ranges(ctx.threads(), logits.rows(), n, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) out[i] = largest_of(x + i * n, n);
  });
}

}  // namespace tessera::cpu
