#include "optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "runtime/core/det_math.h"
#include "runtime/core/error.h"

namespace tessera::optim {

LrSchedule::LrSchedule(const LrScheduleOptions& options) : options_(options) {
  const double rate = options.learning_rate;
  if (!(rate >= 0.0 && std::isfinite(rate))) {
    fail_usage("learning_rate must be finite and not negative, not {}", rate);
  }
  if (options.warmup_steps < 0) {
    fail_usage("warmup_steps must not be negative, but is {}", options.warmup_steps);
  }
  if (options.total_steps < 0) {
    fail_usage("the number of steps must not be negative, but is {}", options.total_steps);
  }
}

double LrSchedule::rate(int64_t step) const {
  TESSERA_CHECK(step >= 0);
  const double peak = options_.learning_rate;
  const int64_t warmup = options_.warmup_steps;
  if (options_.scheduler == LrScheduler::kConstant) return peak;
  if (step < warmup) return peak * (double(step) / double(warmup));
  if (options_.scheduler == LrScheduler::kConstantWithWarmup) return peak;

  const double span = double(std::max<int64_t>(1, options_.total_steps - warmup));
  if (options_.scheduler == LrScheduler::kLinear) {
    return peak * std::max(0.0, double(options_.total_steps - step) / span);
  }
  const double progress = double(step - warmup) / span;
  return peak * std::max(0.0, 0.5 * (1.0 + det_cos(std::numbers::pi * progress)));
}

int64_t warmup_steps_of_ratio(double ratio, int64_t total_steps) {
  if (!(ratio >= 0.0 && ratio <= 1.0)) {
    fail_usage("warmup_ratio must be in [0, 1], not {}", ratio);
  }
  TESSERA_CHECK(total_steps >= 0);
  return int64_t(std::ceil(double(total_steps) * ratio));
}

}  // namespace tessera::optim
