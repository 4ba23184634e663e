// Learning rates against transformers' schedules.
#include "optim/schedule.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <limits>
#include <string>

#include "runtime/core/error.h"
#include "tests/expect_error.h"
#include "tests/optim/golden_values.h"

namespace tessera::optim {
namespace {

using tessera::testing::expect_error;

LrScheduler scheduler_of(const std::string& name) {
  for (const SchedulerRow& row : schedulers()) {
    if (row.name == name) return row.scheduler;
  }
  ADD_FAILURE() << name;
  return LrScheduler::kConstant;
}

Ramp ramp_of(const std::string& name) {
  if (name == "linear") return Ramp::kLinear;
  EXPECT_TRUE(name == "cosine" || name == "1-sqrt") << name;
  return name == "cosine" ? Ramp::kCosine : Ramp::kOneMinusSqrt;
}

SchedulerArguments arguments_of(const nlohmann::json& values) {
  SchedulerArguments arguments;
  size_t read = 0;
  for (const SchedulerArgument& argument : scheduler_arguments()) {
    const std::string key(argument.key);
    if (!values.contains(key)) continue;
    ++read;
    std::visit(
        [&](auto field) {
          if constexpr (std::is_same_v<decltype(field), SchedulerArgument::Shape>) {
            arguments.*field = ramp_of(values.at(key));
          } else {
            (arguments.*field).emplace(values.at(key));
          }
        },
        argument.field);
  }
  EXPECT_EQ(read, values.size()) << values;
  return arguments;
}

/// Whether only operations that IEEE 754 rounds correctly make the rates.
bool is_exact(LrScheduler scheduler, const SchedulerArguments& a) {
  switch (scheduler) {
    case LrScheduler::kLinear:
    case LrScheduler::kConstant:
    case LrScheduler::kConstantWithWarmup:
    case LrScheduler::kInverseSqrt:
      return true;
    case LrScheduler::kPolynomial:
      return a.power.value_or(1) == 1;
    case LrScheduler::kWarmupStableDecay:
      return a.warmup_type != Ramp::kCosine &&
             a.decay_type.value_or(Ramp::kCosine) != Ramp::kCosine;
    default:
      return false;
  }
}

/// Cosines and powers may differ in the last place, which cancellation makes absolute.
void expect_rates(const LrScheduleOptions& options, const nlohmann::json& rates) {
  const LrSchedule schedule(options);
  const bool exact = is_exact(options.scheduler, options.arguments);
  for (const auto& point : rates) {
    const double expected = std::strtod(point.at(1).get<std::string>().c_str(), nullptr);
    const double rate = schedule.rate(point.at(0));
    if (exact) {
      EXPECT_EQ(rate, expected) << point;
    } else {
      EXPECT_NEAR(rate, expected, options.learning_rate * 0x1p-52) << point;
    }
  }
}

TEST(LrSchedule, EqualsTransformers) {
  const auto golden = read_golden("schedule.json");
  const double peak = golden.at("learning_rate");
  for (const auto& c : golden.at("cases")) {
    const LrScheduler scheduler = scheduler_of(c.at("name"));
    const LrSchedule schedule({.scheduler = scheduler,
                               .learning_rate = peak,
                               .warmup_steps = c.at("warmup"),
                               .total_steps = c.at("total")});
    for (const auto& point : c.at("rates")) {
      const double expected = point.at(1);
      const double rate = schedule.rate(point.at(0));
      if (scheduler == LrScheduler::kCosine) {
        // Cosines may differ in the last place, which cancellation near the end makes absolute.
        EXPECT_NEAR(rate, expected, peak * 0x1p-52) << c.at("warmup") << " " << point;
      } else {
        EXPECT_EQ(rate, expected) << c.at("name") << c.at("warmup") << " " << point;
      }
    }
  }
}

TEST(LrSchedule, EqualsTransformersWithArguments) {
  const auto golden = read_golden("schedulers.json");
  ASSERT_GT(golden.at("transformers").size(), 100u);
  for (const auto& c : golden.at("transformers")) {
    SCOPED_TRACE(c.at("name").get<std::string>() + " " + c.at("arguments").dump() + " " +
                 c.at("warmup").dump() + " of " + c.at("total").dump());
    expect_rates({.scheduler = scheduler_of(c.at("name")),
                  .learning_rate = golden.at("learning_rate"),
                  .warmup_steps = c.at("warmup"),
                  .total_steps = c.at("total"),
                  .arguments = arguments_of(c.at("arguments"))},
                 c.at("rates"));
  }
}

TEST(LrSchedule, EqualsAxolotlsCosineWithAFloor) {
  const auto golden = read_golden("schedulers.json");
  ASSERT_GT(golden.at("axolotl").size(), 20u);
  for (const auto& c : golden.at("axolotl")) {
    SCOPED_TRACE(c.at("min_ratio").dump() + " " + c.at("constant_ratio").dump() + " " +
                 c.at("warmup").dump() + " of " + c.at("total").dump());
    expect_rates({.scheduler = LrScheduler::kCosine,
                  .learning_rate = golden.at("learning_rate"),
                  .warmup_steps = c.at("warmup"),
                  .total_steps = c.at("total"),
                  .cosine_min_ratio = c.at("min_ratio"),
                  .cosine_constant_ratio = c.at("constant_ratio")},
                 c.at("rates"));
  }
}

TEST(LrSchedule, TheRowsOfTheTableHaveTheNumbersOfTheirValues) {
  for (size_t i = 0; i < schedulers().size(); ++i) {
    EXPECT_EQ(size_t(schedulers()[i].scheduler), i);
    for (const std::string_view key : schedulers()[i].arguments) {
      EXPECT_EQ(std::ranges::count(scheduler_arguments(), key, &SchedulerArgument::key), 1) << key;
    }
  }
  // Older checkpoints have these.
  EXPECT_EQ(int(LrScheduler::kConstantWithWarmup), 3);
  EXPECT_EQ(int(LrScheduler::kWarmupStableDecay), 9);
}

TEST(LrSchedule, TurnsRatiosIntoStepsAsTransformers) {
  const auto golden = read_golden("schedule.json");
  ASSERT_FALSE(golden.at("ratios").empty());
  for (const auto& row : golden.at("ratios")) {
    EXPECT_EQ(warmup_steps_of_ratio(row.at(0), row.at(1)), row.at(2).get<int64_t>()) << row;
  }
}

TEST(LrSchedule, RefusesImpossibleSettings) {
  EXPECT_THROW(LrSchedule({.learning_rate = -1.0}), Error);
  EXPECT_THROW(LrSchedule({.learning_rate = std::numeric_limits<double>::infinity()}), Error);
  EXPECT_THROW(LrSchedule({.warmup_steps = -1}), Error);
  EXPECT_THROW(LrSchedule({.total_steps = -1}), Error);
  EXPECT_THROW(warmup_steps_of_ratio(1.5, 10), Error);
  EXPECT_THROW(warmup_steps_of_ratio(std::numeric_limits<double>::quiet_NaN(), 10), Error);
}

TEST(LrSchedule, RefusesArgumentsThatItsSchedulerDoesNotTake) {
  const auto refused = [](LrScheduler scheduler, const SchedulerArguments& arguments,
                          const std::string& text) {
    expect_error([&] { LrSchedule({.scheduler = scheduler, .arguments = arguments}); }, text);
  };
  refused(LrScheduler::kCosine, {.power = 2},
          "power is no argument of cosine, which takes num_cycl");
  refused(LrScheduler::kLinear, {.num_cycles = 1},
          "num_cycles is no argument of linear, which take");
  refused(LrScheduler::kInverseSqrt, {.timescale = 0}, "timescale must be from 1 to ");
  refused(LrScheduler::kCosineWithRestarts, {.num_cycles = 0.5}, "must be a whole number, not 0.5");
  refused(LrScheduler::kWarmupStableDecay, {}, "warmup_stable_decay needs num_decay_steps");
  refused(LrScheduler::kCosineWithMinLr, {}, "cosine_with_min_lr needs min_lr, or min_lr_rate");
  refused(LrScheduler::kCosineWithMinLr, {.min_lr = 1e-5, .min_lr_rate = 0.1}, "say the same");
  refused(LrScheduler::kCosineWarmupWithMinLr, {.min_lr = 1},
          "min_lr must be at most learning_rate");
  refused(LrScheduler::kPolynomial, {.lr_end = 2e-4},
          "lr_end must be below learning_rate, 0.0002,");
  const double nan = std::numeric_limits<double>::quiet_NaN();
  refused(LrScheduler::kPolynomial, {.power = nan}, "power must be from 0 to ");
  expect_error([] { LrSchedule({.cosine_min_ratio = 1.5}); },
               "cosine_min_lr_ratio must be in [0, 1]");
  expect_error(
      [] { LrSchedule({.warmup_steps = 6, .total_steps = 10, .cosine_constant_ratio = 0.5}); },
      "cosine_constant_lr_ratio of 0.5 ends the cosine after step 5, but the warm-up takes 6");
}

}  // namespace
}  // namespace tessera::optim
