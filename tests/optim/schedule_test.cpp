// Learning rates against transformers' schedules.
#include "optim/schedule.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "runtime/core/error.h"
#include "tests/optim/golden_values.h"

namespace tessera::optim {
namespace {

LrScheduler scheduler_of(const std::string& name) {
  if (name == "cosine") return LrScheduler::kCosine;
  if (name == "linear") return LrScheduler::kLinear;
  if (name == "constant") return LrScheduler::kConstant;
  EXPECT_EQ(name, "constant_with_warmup");
  return LrScheduler::kConstantWithWarmup;
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

}  // namespace
}  // namespace tessera::optim
