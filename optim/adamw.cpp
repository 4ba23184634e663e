#include "optim/adamw.h"

#include <algorithm>
#include <cmath>

#include "runtime/core/context.h"
#include "runtime/core/error.h"
#include "runtime/core/has_cuda.h"
#include "runtime/cpu/parallel.h"

namespace tessera::optim {

namespace {

// In kAdamWMoments.
constexpr size_t kM = 0;
constexpr size_t kV = 1;

// Large enough to hide the cost of handing out a task, small enough to keep all threads busy within
// a page. A multiple of kStateBlock.
constexpr size_t kTaskElements = 16384;

/// x^n by squaring: libm's pow differs between systems, a product of doubles does not.
double integer_power(double x, int64_t n) {
  double result = 1.0;
  for (; n > 0; n /= 2, x *= x) {
    if (n % 2 == 1) result *= x;
  }
  return result;
}

struct Scalars {
  AdamWScalars of_32bit;
  AdamW8bitScalars of_8bit;
};

/// The scalars of both widths are computed in double; each is rounded to float32 once.
Scalars scalars_of(const UpdateInput& input) {
  const OptimizerOptions& options = input.options;
  const int64_t step = input.step;
  const double lr = input.learning_rate;
  const float grad_scale = input.grad_scale;
  const double correction1 = 1.0 - integer_power(options.beta1, step);
  const double correction2_sqrt = std::sqrt(1.0 - integer_power(options.beta2, step));
  const float decay = float(1.0 - lr * options.weight_decay);
  const float beta1 = float(options.beta1);
  const float beta2 = float(options.beta2);
  return {.of_32bit = {.grad_scale = grad_scale,
                       .decay = decay,
                       .one_minus_beta1 = float(1.0 - options.beta1),
                       .beta2 = beta2,
                       .one_minus_beta2 = float(1.0 - options.beta2),
                       .correction2_sqrt = float(correction2_sqrt),
                       .eps = float(options.eps),
                       .minus_step_size = float(-(lr / correction1))},
          .of_8bit = {.grad_scale = grad_scale,
                      .beta1 = beta1,
                      .one_minus_beta1 = 1.0f - beta1,
                      .beta2 = beta2,
                      .one_minus_beta2 = 1.0f - beta2,
                      .minus_step_size = float(-lr * correction2_sqrt / correction1),
                      .eps = float(options.eps * correction2_sqrt),
                      .decay = decay}};
}

Moments32bit moments_32bit(const StateView& state, size_t begin) {
  return {.m = state.values(kM, begin), .v = state.values(kV, begin)};
}
Moments8bit moments_8bit(const StateView& state, size_t begin) {
  return {.m_codes = state.codes(kM, begin),
          .v_codes = state.codes(kV, begin),
          .m_absmax = state.absmax(kM, begin),
          .v_absmax = state.absmax(kV, begin)};
}

}  // namespace

void check_adamw(const OptimizerOptions& options) {
  // Written so that a NaN fails as well.
  const auto check_beta = [](const char* key, double value) {
    if (!(value >= 0.0 && value < 1.0)) fail_usage("{} must be in [0, 1), not {}", key, value);
  };
  check_beta("adam_beta1", options.beta1);
  check_beta("adam_beta2", options.beta2);
  const auto check_size = [](const char* key, double value) {
    if (!(value >= 0.0 && std::isfinite(value))) {
      fail_usage("{} must be finite and not negative, not {}", key, value);
    }
  };
  check_size("adam_epsilon", options.eps);
  check_size("weight_decay", options.weight_decay);
}

void update_adamw(Context& ctx, const UpdateInput& input, const StateView& state) {
  const Scalars scalars = scalars_of(input);
  const bool wide = state.run.bits == StateBits::k32;
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) {
      return wide ? cuda::adamw(ctx, scalars.of_32bit, input.params, input.grads,
                                moments_32bit(state, 0))
                  : cuda::adamw_8bit(ctx, scalars.of_8bit, input.params, input.grads,
                                     moments_8bit(state, 0));
    }
  }
  const size_t elements = state.run.elements();
  const int64_t tasks = int64_t((elements + kTaskElements - 1) / kTaskElements);
  tessera::cpu::parallel_for(ctx.threads(), tasks, [&](int64_t task) {
    const size_t begin = size_t(task) * kTaskElements;
    const size_t n = std::min(kTaskElements, elements - begin);
    const std::span<float> params = input.params.subspan(begin, n);
    const std::span<const float> grads = input.grads.subspan(begin, n);
    wide ? cpu::adamw(scalars.of_32bit, params, grads, moments_32bit(state, begin))
         : cpu::adamw_8bit(scalars.of_8bit, params, grads, moments_8bit(state, begin));
  });
}

}  // namespace tessera::optim
