#include "optim/adamw.h"

#include <algorithm>
#include <cmath>

#include "optim/cpu/adamw.h"
#include "runtime/core/error.h"
#include "runtime/cpu/parallel.h"

namespace tessera::optim {

namespace {

// Large enough to hide the cost of handing out a task, small enough to keep all threads busy.
constexpr size_t kTaskElements = 65536;

/// x^n by squaring: libm's pow differs between systems, a product of doubles does not.
double integer_power(double x, int64_t n) {
  double result = 1.0;
  for (; n > 0; n /= 2, x *= x) {
    if (n % 2 == 1) result *= x;
  }
  return result;
}

}  // namespace

AdamW::AdamW(size_t elements, AdamWOptions options) : elements_(elements), options_(options) {
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
  m_ = Buffer::host(elements * sizeof(float));
  v_ = Buffer::host(elements * sizeof(float));
}

void AdamW::set_steps_taken(int64_t steps) {
  if (steps < 0) fail("optimizer state: a step count of {} is not possible", steps);
  steps_taken_ = steps;
}

void AdamW::step(Context& ctx, std::span<float> params, std::span<const float> grads, double lr,
                 float grad_scale) {
  TESSERA_CHECK(params.size() == elements_ && grads.size() == elements_);
  if (!(lr >= 0.0 && std::isfinite(lr))) {
    fail_usage("the learning rate must be finite and not negative, not {}", lr);
  }
  ++steps_taken_;
  // torch computes these scalars in double and rounds each to float32 where it meets a tensor.
  const double correction1 = 1.0 - integer_power(options_.beta1, steps_taken_);
  const double correction2 = 1.0 - integer_power(options_.beta2, steps_taken_);
  const cpu::AdamWScalars scalars{
      .grad_scale = grad_scale,
      .decay = float(1.0 - lr * options_.weight_decay),
      .one_minus_beta1 = float(1.0 - options_.beta1),
      .beta2 = float(options_.beta2),
      .one_minus_beta2 = float(1.0 - options_.beta2),
      .correction2_sqrt = float(std::sqrt(correction2)),
      .eps = float(options_.eps),
      .minus_step_size = float(-(lr / correction1)),
  };
  const int64_t tasks = int64_t((elements_ + kTaskElements - 1) / kTaskElements);
  tessera::cpu::parallel_for(ctx.threads(), tasks, [&](int64_t task) {
    const size_t begin = size_t(task) * kTaskElements;
    const size_t n = std::min(kTaskElements, elements_ - begin);
    cpu::adamw(scalars, params.subspan(begin, n), grads.subspan(begin, n), m().subspan(begin, n),
               v().subspan(begin, n));
  });
}

}  // namespace tessera::optim
