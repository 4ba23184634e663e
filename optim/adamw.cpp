#include "optim/adamw.h"

#include <algorithm>
#include <cmath>

#include "optim/adamw_update.h"
#include "runtime/core/error.h"
#include "runtime/core/has_cuda.h"
#include "runtime/cpu/parallel.h"

namespace tessera::optim {

namespace {

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

AdamWOptions checked(const AdamWOptions& options) {
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
  return options;
}

struct Scalars {
  AdamWScalars of_32bit;
  AdamW8bitScalars of_8bit;
};

/// Both rules' scalars are computed in double; each is rounded to float32 once.
Scalars scalars_of(const AdamWOptions& options, int64_t step, double lr, float grad_scale) {
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

/// The state of elements [begin, ...) of a run, `begin` a multiple of kStateBlock from its start.
template <class T>
T* state_at(StateField field, const StateRun& run, std::byte* state, size_t begin) {
  return reinterpret_cast<T*>(state + field_offset(field, run)) + begin;
}
Moments32bit moments_32bit(const StateRun& run, std::byte* state, size_t begin) {
  return {.m = state_at<float>(StateField::kM, run, state, begin),
          .v = state_at<float>(StateField::kV, run, state, begin)};
}
Moments8bit moments_8bit(const StateRun& run, std::byte* state, size_t begin) {
  const size_t block = begin / kStateBlock;
  return {.m_codes = state_at<uint8_t>(StateField::kMCodes, run, state, begin),
          .v_codes = state_at<uint8_t>(StateField::kVCodes, run, state, begin),
          .m_absmax = state_at<float>(StateField::kMAbsmax, run, state, block),
          .v_absmax = state_at<float>(StateField::kVAbsmax, run, state, block)};
}

/// The update of a whole run.
void update(Context& ctx, const Scalars& scalars, const StateRun& run, std::byte* state,
            std::span<float> params, std::span<const float> grads) {
  const bool wide = run.bits == StateBits::k32;
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) {
      return wide ? cuda::adamw(ctx, scalars.of_32bit, params, grads, moments_32bit(run, state, 0))
                  : cuda::adamw_8bit(ctx, scalars.of_8bit, params, grads,
                                     moments_8bit(run, state, 0));
    }
  }
  const int64_t tasks = int64_t((run.elements() + kTaskElements - 1) / kTaskElements);
  tessera::cpu::parallel_for(ctx.threads(), tasks, [&](int64_t task) {
    const size_t begin = size_t(task) * kTaskElements;
    const size_t n = std::min(kTaskElements, run.elements() - begin);
    const std::span<float> p = params.subspan(begin, n);
    const std::span<const float> g = grads.subspan(begin, n);
    wide ? cpu::adamw(scalars.of_32bit, p, g, moments_32bit(run, state, begin))
         : cpu::adamw_8bit(scalars.of_8bit, p, g, moments_8bit(run, state, begin));
  });
}

}  // namespace

AdamW::AdamW(std::span<const StateSegment> segments, ElementRange range, AdamWOptions options,
             const PageOptions& paging)
    : options_(checked(options)), moments_(segments, range, paging) {}

PageMemory AdamW::memory(std::span<const StateSegment> segments, ElementRange range,
                         const PageOptions& paging) {
  return Moments::memory(segments, range, paging);
}

void AdamW::set_steps_taken(int64_t steps) {
  if (steps < 0) fail("optimizer state: a step count of {} is not possible", steps);
  steps_taken_ = steps;
}

void AdamW::step(Context& ctx, std::span<float> params, std::span<const float> grads, double lr,
                 float grad_scale) {
  TESSERA_CHECK(params.size() == size() && grads.size() == size());
  if (!(lr >= 0.0 && std::isfinite(lr))) {
    fail_usage("the learning rate must be finite and not negative, not {}", lr);
  }
  ++steps_taken_;
  const Scalars scalars = scalars_of(options_, steps_taken_, lr, grad_scale);
  moments_.sweep(ctx, [&](const StateRun& run, std::byte* state) {
    const size_t first = run.begin - moments_.range().begin;
    update(ctx, scalars, run, state, params.subspan(first, run.elements()),
           grads.subspan(first, run.elements()));
  });
}

}  // namespace tessera::optim
