#include "optim/schedule.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "runtime/core/det_math.h"
#include "runtime/core/error.h"

namespace tessera::optim {

namespace {

using Arguments = SchedulerArguments;

constexpr double kAnyNumber = std::numeric_limits<double>::infinity();
constexpr double kMostSteps = 1e9;
// Far below the angles that det_cos() takes.
constexpr double kMostCycles = 1e6;

constexpr SchedulerArgument kArguments[] = {
    {"num_cycles", &Arguments::num_cycles, 0, kMostCycles},
    {"lr_end", &Arguments::lr_end, 0, kAnyNumber},
    {"power", &Arguments::power, 0, kAnyNumber},
    {"timescale", &Arguments::timescale, 1, kMostSteps},
    {"min_lr", &Arguments::min_lr, 0, kAnyNumber},
    {"min_lr_rate", &Arguments::min_lr_rate, 0, 1},
    {"warmup_lr_rate", &Arguments::warmup_lr_rate, 0, 1},
    {"num_decay_steps", &Arguments::num_decay_steps, 0, kMostSteps},
    {"num_stable_steps", &Arguments::num_stable_steps, 0, kMostSteps},
    {"warmup_type", &Arguments::warmup_type},
    {"decay_type", &Arguments::decay_type},
    {"min_lr_ratio", &Arguments::min_lr_ratio, 0, 1},
};

constexpr std::string_view kOfCosine[] = {"num_cycles"};
constexpr std::string_view kOfPolynomial[] = {"lr_end", "power"};
constexpr std::string_view kOfInverseSqrt[] = {"timescale"};
constexpr std::string_view kOfMinLr[] = {"min_lr", "min_lr_rate", "num_cycles"};
constexpr std::string_view kOfWarmupWithMinLr[] = {"min_lr", "min_lr_rate", "num_cycles",
                                                   "warmup_lr_rate"};
constexpr std::string_view kOfStableDecay[] = {"num_decay_steps", "num_stable_steps", "warmup_type",
                                               "decay_type",      "min_lr_ratio",     "num_cycles"};

constexpr SchedulerRow kSchedulers[] = {
    {LrScheduler::kCosine, "cosine", kOfCosine},
    {LrScheduler::kLinear, "linear", {}},
    {LrScheduler::kConstant, "constant", {}},
    {LrScheduler::kConstantWithWarmup, "constant_with_warmup", {}},
    {LrScheduler::kCosineWithRestarts, "cosine_with_restarts", kOfCosine},
    {LrScheduler::kPolynomial, "polynomial", kOfPolynomial},
    {LrScheduler::kInverseSqrt, "inverse_sqrt", kOfInverseSqrt},
    {LrScheduler::kCosineWithMinLr, "cosine_with_min_lr", kOfMinLr},
    {LrScheduler::kCosineWarmupWithMinLr, "cosine_warmup_with_min_lr", kOfWarmupWithMinLr},
    {LrScheduler::kWarmupStableDecay, "warmup_stable_decay", kOfStableDecay},
};

bool ends_at_min_lr(LrScheduler scheduler) {
  return scheduler == LrScheduler::kCosineWithMinLr ||
         scheduler == LrScheduler::kCosineWarmupWithMinLr;
}

constexpr double kUsualLrEnd = 1e-7;

/// The first argument that is given and not the scheduler's, or is out of range.
SchedulerFault fault_of_one(const SchedulerRow& row, const Arguments& arguments) {
  for (const SchedulerArgument& argument : kArguments) {
    const bool known = std::ranges::count(row.arguments, argument.key) > 0;
    std::string text;
    std::visit(
        [&](auto field) {
          const auto& value = arguments.*field;
          if (!value) return;
          if (!known) {
            text = fmt::format(
                "{} is no argument of {}, which takes {}", argument.key, row.name,
                row.arguments.empty() ? "none" : fmt::format("{}", fmt::join(row.arguments, ", ")));
          } else if constexpr (!std::is_same_v<decltype(field), SchedulerArgument::Shape>) {
            // Written so that a NaN fails as well.
            const auto number = double(*value);
            if (number >= argument.low && number <= argument.high) return;
            text = fmt::format("{} must be from {} to {}, not {}", argument.key, argument.low,
                               argument.high, *value);
          }
        },
        argument.field);
    if (!text.empty()) return {argument.key, text};
  }
  return {};
}

/// `along` in [0, 1] to [0, 1].
double rise(Ramp ramp, double along) {
  switch (ramp) {
    case Ramp::kLinear:
      return along;
    case Ramp::kCosine:
      return 0.5 * (1.0 - det_cos(std::numbers::pi * along));
    case Ramp::kOneMinusSqrt:
      return 1.0 - std::sqrt(1.0 - along);
  }
  TESSERA_CHECK(false);
  return 0.0;
}

double wave(double cycles, double progress) {
  return 0.5 * (1.0 + det_cos(std::numbers::pi * cycles * 2.0 * progress));
}

/// `along` in [0, 1] to [1, 0].
double fall(Ramp ramp, double along, double cycles) {
  switch (ramp) {
    case Ramp::kLinear:
      return 1.0 - along;
    case Ramp::kCosine:
      return wave(cycles, along);
    case Ramp::kOneMinusSqrt:
      return 1.0 - std::sqrt(along);
  }
  TESSERA_CHECK(false);
  return 0.0;
}

double above(double floor, double factor) { return std::max(0.0, factor * (1.0 - floor) + floor); }

double share(int64_t steps, int64_t of) { return double(steps) / double(std::max<int64_t>(1, of)); }

}  // namespace

std::span<const SchedulerArgument> scheduler_arguments() { return kArguments; }

std::span<const SchedulerRow> schedulers() { return kSchedulers; }

SchedulerFault fault_of(LrScheduler scheduler, const Arguments& arguments, double learning_rate) {
  const SchedulerRow& row = kSchedulers[size_t(scheduler)];
  TESSERA_CHECK(row.scheduler == scheduler);
  SchedulerFault fault = fault_of_one(row, arguments);
  if (!fault.text.empty()) return fault;
  const auto missing = [&](std::string_view what) {
    return SchedulerFault{{}, fmt::format("{} needs {}", row.name, what)};
  };
  if (ends_at_min_lr(scheduler)) {
    if (!arguments.min_lr && !arguments.min_lr_rate) {
      return missing("min_lr, or min_lr_rate, which is its share of learning_rate");
    }
    if (arguments.min_lr && arguments.min_lr_rate) {
      return {"min_lr_rate", "min_lr and min_lr_rate say the same; keep one"};
    }
    if (arguments.min_lr.value_or(0) > learning_rate) {
      return {"min_lr", fmt::format("min_lr must be at most learning_rate, {}, but is {}",
                                    learning_rate, *arguments.min_lr)};
    }
  }
  if (scheduler == LrScheduler::kWarmupStableDecay && !arguments.num_decay_steps) {
    return missing("num_decay_steps");
  }
  const double lr_end = arguments.lr_end.value_or(kUsualLrEnd);
  if (scheduler == LrScheduler::kPolynomial && !(learning_rate > lr_end)) {
    return {"lr_end", fmt::format("lr_end must be below learning_rate, {}, but is {}",
                                  learning_rate, lr_end)};
  }
  const double cycles = arguments.num_cycles.value_or(1);
  if (scheduler == LrScheduler::kCosineWithRestarts && cycles != std::floor(cycles)) {
    return {"num_cycles",
            fmt::format("num_cycles of {} must be a whole number, not {}", row.name, cycles)};
  }
  return {};
}

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
  const SchedulerFault fault = fault_of(options.scheduler, options.arguments, rate);
  if (!fault.text.empty()) fail_usage("lr_scheduler: {}", fault.text);
  const auto check_ratio = [](const char* key, double value) {
    if (!(value >= 0.0 && value <= 1.0)) fail_usage("{} must be in [0, 1], not {}", key, value);
  };
  check_ratio("cosine_min_lr_ratio", options.cosine_min_ratio);
  check_ratio("cosine_constant_lr_ratio", options.cosine_constant_ratio);
  const double constant_from = double(options.total_steps) * options.cosine_constant_ratio;
  if (options.cosine_constant_ratio > 0 &&
      std::floor(constant_from) < double(options.warmup_steps)) {
    fail_usage(
        "cosine_constant_lr_ratio of {} ends the cosine after step {}, but the warm-up takes {}; "
        "make one longer or the other shorter",
        options.cosine_constant_ratio, std::floor(constant_from), options.warmup_steps);
  }
}

double LrSchedule::floor() const {
  const Arguments& a = options_.arguments;
  if (options_.scheduler == LrScheduler::kCosine) return options_.cosine_min_ratio;
  if (options_.scheduler == LrScheduler::kWarmupStableDecay) return a.min_lr_ratio.value_or(0);
  return a.min_lr ? *a.min_lr / options_.learning_rate : a.min_lr_rate.value_or(0);
}

double LrSchedule::factor(int64_t step) const {
  TESSERA_CHECK(step >= 0);
  const int64_t warmup = options_.warmup_steps;
  const Arguments& a = options_.arguments;
  if (options_.scheduler == LrScheduler::kConstant) return 1.0;
  if (step >= warmup) return factor_after_warmup(step);
  if (options_.scheduler == LrScheduler::kWarmupStableDecay) {
    return above(floor(), rise(a.warmup_type.value_or(Ramp::kLinear), share(step, warmup)));
  }
  if (options_.scheduler == LrScheduler::kCosineWarmupWithMinLr) {
    if (!a.warmup_lr_rate) return share(step + 1, warmup);
    const double begin = *a.warmup_lr_rate;
    return begin + (1.0 - begin) * double(step) / double(std::max<int64_t>(1, warmup - 1));
  }
  return share(step, warmup);
}

double LrSchedule::factor_after_warmup(int64_t step) const {
  const int64_t warmup = options_.warmup_steps, total = options_.total_steps;
  const Arguments& a = options_.arguments;
  switch (options_.scheduler) {
    case LrScheduler::kConstant:
    case LrScheduler::kConstantWithWarmup:
      return 1.0;
    case LrScheduler::kLinear:
      return std::max(0.0, share(total - step, total - warmup));
    case LrScheduler::kCosine:
    case LrScheduler::kCosineWithMinLr:
      return cosine(step);
    case LrScheduler::kCosineWarmupWithMinLr:
      return cosine(step + 1);
    case LrScheduler::kCosineWithRestarts: {
      const double progress = share(step - warmup, total - warmup);
      if (progress >= 1.0) return 0.0;
      const double in_cycle = std::fmod(a.num_cycles.value_or(1) * progress, 1.0);
      return std::max(0.0, 0.5 * (1.0 + det_cos(std::numbers::pi * in_cycle)));
    }
    case LrScheduler::kPolynomial:
      return polynomial(step);
    case LrScheduler::kInverseSqrt: {
      const int64_t timescale = a.timescale.value_or(warmup > 0 ? warmup : 10000);
      return 1.0 / std::sqrt(double(step + (timescale - warmup)) / double(timescale));
    }
    case LrScheduler::kWarmupStableDecay:
      return stable_decay(step);
  }
  TESSERA_CHECK(false);
  return 0.0;
}

double LrSchedule::cosine(int64_t step) const {
  int64_t end = options_.total_steps;
  if (options_.cosine_constant_ratio > 0) {
    end = int64_t(double(end) * options_.cosine_constant_ratio);
    step = std::min(step, end);
  }
  const double progress = share(step - options_.warmup_steps, end - options_.warmup_steps);
  return above(floor(), wave(options_.arguments.num_cycles.value_or(0.5), progress));
}

double LrSchedule::polynomial(int64_t step) const {
  const int64_t warmup = options_.warmup_steps, total = options_.total_steps;
  const double peak = options_.learning_rate;
  const double end = options_.arguments.lr_end.value_or(kUsualLrEnd);
  if (step > total || total == warmup) return end / peak;
  const double remaining = 1.0 - double(step - warmup) / double(total - warmup);
  const double power = options_.arguments.power.value_or(1);
  const double curve = power == 1 ? remaining : det_pow(remaining, power);
  return ((peak - end) * curve + end) / peak;
}

double LrSchedule::stable_decay(int64_t step) const {
  const Arguments& a = options_.arguments;
  const int64_t warmup = options_.warmup_steps, decay = *a.num_decay_steps;
  const int64_t stable = a.num_stable_steps.value_or(options_.total_steps - warmup - decay);
  if (step < warmup + stable) return 1.0;
  if (step >= warmup + stable + decay) return floor();
  return above(floor(), fall(a.decay_type.value_or(Ramp::kCosine),
                             share(step - warmup - stable, decay), a.num_cycles.value_or(0.5)));
}

int64_t warmup_steps_of_ratio(double ratio, int64_t total_steps) {
  if (!(ratio >= 0.0 && ratio <= 1.0)) {
    fail_usage("warmup_ratio must be in [0, 1], not {}", ratio);
  }
  TESSERA_CHECK(total_steps >= 0);
  return int64_t(std::ceil(double(total_steps) * ratio));
}

}  // namespace tessera::optim
