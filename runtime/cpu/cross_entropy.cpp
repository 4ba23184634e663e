#include "runtime/ops/cross_entropy.h"

#include <algorithm>
#include <limits>

#include "runtime/core/det_math.h"
#include "runtime/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/cpu/cross_entropy.cpp"
#include "hwy/foreach_target.h"
#include "runtime/cpu/vec16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::cpu::HWY_NAMESPACE {

// A vocabulary is too long for one float32 sum; sums of so many terms are added up in double.
constexpr int64_t kBlock = 2048;
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

HWY_INLINE float row_max(const float* x, int64_t n) {
  Vec16 largest = set16(kMinusInfinity);
  each16(n, [&](int64_t i, auto size)
                HWY_ATTR { largest = max16(largest, load16(x + i, size, kMinusInfinity)); });
  return max_lane16(largest);
}

/// x becomes e^(x - shift), whose sum it returns.
HWY_INLINE double exp_in_place(float* x, int64_t n, float shift) {
  const Vec16 s = set16(shift);
  double total = 0;
  for (int64_t block = 0; block < n; block += kBlock) {
    Vec16 sum = zero16();
    each16(std::min(kBlock, n - block), [&](int64_t i, auto size) HWY_ATTR {
      const Vec16 e = exp16(sub16(load16(x + block + i, size, kMinusInfinity), s));
      sum = add16(sum, e);
      store16(e, x + block + i, size);
    });
    total += double(sum16(sum));
  }
  return total;
}

/// The sum of x - shift.
HWY_INLINE double sum_of_differences(const float* x, int64_t n, float shift) {
  const Vec16 s = set16(shift);
  double total = 0;
  for (int64_t block = 0; block < n; block += kBlock) {
    Vec16 sum = zero16();
    each16(std::min(kBlock, n - block), [&](int64_t i, auto size) HWY_ATTR {
      sum = add16(sum, sub16(load16(x + block + i, size, shift), s));
    });
    total += double(sum16(sum));
  }
  return total;
}

float cross_entropy_row(float* x, int64_t n, int32_t target, float scale, float smoothing) {
  const float largest = row_max(x, n);
  const double logit = double(x[target]) - double(largest);
  const double everywhere = double(smoothing) / double(n);
  // The mean over q of the logits, less the largest.
  double learned = logit;
  if (smoothing > 0) {
    learned = (1.0 - double(smoothing)) * logit + everywhere * sum_of_differences(x, n, largest);
  }
  const double sum = exp_in_place(x, n, largest);
  // In double, because 1 - p cancels for a token that is nearly certain.
  const double wanted = 1.0 - double(smoothing) + everywhere;
  const double at_target = (double(x[target]) / sum - wanted) * double(scale);
  const Vec16 factor = set16(float(double(scale) / sum));
  if (smoothing > 0) {
    const Vec16 less = set16(float(everywhere * double(scale)));
    each16(n, [&](int64_t i, auto size) HWY_ATTR {
      store16(sub16(mul16(load16(x + i, size), factor), less), x + i, size);
    });
  } else {
    each16(n, [&](int64_t i, auto size)
                  HWY_ATTR { store16(mul16(load16(x + i, size), factor), x + i, size); });
  }
  x[target] = float(at_target);
  return float(det_log(sum) - learned);
}

}  // namespace tessera::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::cpu {

HWY_EXPORT(cross_entropy_row);

void cross_entropy(Context& ctx, Tensor losses, Tensor logits, std::span<const int32_t> targets,
                   const CrossEntropyOptions& options) {
  float *loss = losses.data<float>(), *x = logits.data<float>();
  const float* weights = options.weights ? options.weights.data<float>() : nullptr;
  const int64_t n = logits.cols();
  parallel_ranges(ctx.threads(), logits.rows(), n, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int32_t target = targets[size_t(i)];
      const float of_row = weights ? options.scale * weights[i] : options.scale;
      loss[i] =
          HWY_DYNAMIC_DISPATCH(cross_entropy_row)(x + i * n, n, target, of_row, options.smoothing);
    }
  });
}

}  // namespace tessera::cpu
#endif
