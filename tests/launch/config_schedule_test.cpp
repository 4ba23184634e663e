// Keys of a config for schedulers and their arguments, and for what changes the numbers of a step.
#include <gtest/gtest.h>

#include "launch/config/config.h"
#include "launch/config/options.h"
#include "launch/config/settings.h"
#include "tests/expect_error.h"

namespace tessera::launch {
namespace {

using optim::LrScheduler;

Config parse(const std::string& text, const std::vector<std::string>& overrides = {}) {
  Faults faults;
  return checked_config(read_settings(text, "run.yml", overrides, faults), "run.yml", {}, faults);
}

std::string message_of(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return testing::error_of([&] { parse(text, overrides); });
}

TEST(ConfigOfSchedules, HasTheSchedulersOfTransformers) {
  for (const optim::SchedulerRow& row : optim::schedulers()) {
    std::string text = "lr_scheduler_type: " + std::string(row.name) + "\nwarmup_ratio: 0\n";
    if (row.scheduler == LrScheduler::kWarmupStableDecay) {
      text += "lr_scheduler_kwargs: {num_decay_steps: 3}\n";
    }
    if (row.name.ends_with("with_min_lr")) text += "lr_scheduler_kwargs: {min_lr: 1e-5}\n";
    const Config config = parse(text);
    EXPECT_EQ(config.lr_scheduler, row.scheduler) << text;
    EXPECT_NO_THROW(make_schedule(config, 10).rate(3)) << text;
  }
}

TEST(ConfigOfSchedules, ReadsArgumentsAndWritesThemBack) {
  const Config config = parse(
      "lr_scheduler: warmup_stable_decay\nlr_scheduler_kwargs:\n  num_decay_steps: 1e2\n"
      "  decay_type: 1-sqrt\n  min_lr_ratio: 0.1\n  warmup_type: null\n",
      {"lr_scheduler_kwargs.num_stable_steps=7"});
  EXPECT_EQ(config.lr_scheduler_kwargs.num_decay_steps, 100);
  EXPECT_EQ(config.lr_scheduler_kwargs.num_stable_steps, 7);
  EXPECT_EQ(config.lr_scheduler_kwargs.decay_type, optim::Ramp::kOneMinusSqrt);
  EXPECT_EQ(config.lr_scheduler_kwargs.warmup_type, std::nullopt);
  EXPECT_EQ(parse(dump_config(config)), config);
  EXPECT_NE(dump_config(config).find("\nlr_scheduler_kwargs: {num_decay_steps: 100, "
                                     "num_stable_steps: 7, decay_type: 1-sqrt, min_lr_ratio: 0.1}"),
            std::string::npos);
}

TEST(ConfigOfSchedules, RefusesWrongArgumentsWhereTheyStand) {
  const std::vector<std::pair<std::string, std::string>> faults = {
      {"lr_scheduler_kwargs:\n  num_cycles: 2\n  powr: 2\n",
       "run.yml:3: lr_scheduler_kwargs: no scheduler takes 'powr'; did you mean 'power'?"},
      {"lr_scheduler_kwargs:\n  num_cycles: 2\n  power: 2\n",
       "run.yml:3: lr_scheduler_kwargs: power is no argument of cosine, which takes num_cycles"},
      {"lr_scheduler: linear\nlr_scheduler_kwargs: {num_cycles: 2}\n",
       "run.yml:2: lr_scheduler_kwargs: num_cycles is no argument of linear, which takes none"},
      {"lr_scheduler_kwargs:\n  num_cycles: many\n",
       "run.yml:2: lr_scheduler_kwargs: num_cycles: expected a number, 0 or more, at most 1000000, "
       "got 'many'"},
      {"lr_scheduler: warmup_stable_decay\nlr_scheduler_kwargs: {num_decay_steps: 2, "
       "decay_type: sqrt}\n",
       "run.yml:2: lr_scheduler_kwargs: decay_type: expected linear, cosine or 1-sqrt, got 'sqrt'"},
      {"seed: 1\nlr_scheduler: warmup_stable_decay\n",
       "run.yml:2: lr_scheduler_kwargs: warmup_stable_decay needs num_decay_steps"},
      {"lr_scheduler: polynomial\nlearning_rate: 1e-7\n",
       "run.yml:1: lr_scheduler_kwargs: lr_end must be below learning_rate, 1e-07, but is 1e-07"},
      {"lr_scheduler_kwargs: 3\n",
       "run.yml:1: lr_scheduler_kwargs: expected a map, such as {num_cycles: 3}, got '3'"},
      {"cosine_constant_lr_ratio: 0.8\n",
       "run.yml:1: cosine_constant_lr_ratio contradicts cosine_min_lr_ratio: 0 (the default): say "
       "where the rate stays, e.g. cosine_min_lr_ratio: 0.1"},
      {"lr_scheduler: constant\nwarmup_ratio: 0\ncosine_min_lr_ratio: 0.3\n",
       "run.yml:3: cosine_min_lr_ratio contradicts lr_scheduler: constant (run.yml:1): only cosine "
       "ends there; use lr_scheduler: cosine"},
      {"lr_scheduler_kwargs: {num_cycles: 1}\ncosine_min_lr_ratio: 0.3\n",
       "run.yml:1: lr_scheduler_kwargs contradicts cosine_min_lr_ratio: 0.3 (run.yml:2): that "
       "cosine takes no arguments; keep one, or use lr_scheduler: cosine_with_min_lr with "
       "min_lr_rate"},
      {"loraplus_lr_ratio: 0\n",
       "run.yml:1: loraplus_lr_ratio: expected a number above 0, got '0'"},
      {"label_smoothing_factor: 1\n",
       "run.yml:1: label_smoothing_factor: expected a number, 0 or more, below 1, got '1'"},
  };
  for (const auto& [text, message] : faults) EXPECT_EQ(message_of(text), message);
}

TEST(ConfigOfSchedules, ReachesTheScheduleAndTheLoss) {
  const Config config = parse(
      "learning_rate: 1e-3\nwarmup_ratio: 0\ncosine_min_lr_ratio: 0.25\n"
      "cosine_constant_lr_ratio: 0.5\nlabel_smoothing_factor: 0.125\nnoisy_embedding_alpha: 5\n");
  const optim::LrSchedule schedule = make_schedule(config, 10);
  EXPECT_EQ(schedule.rate(0), 1e-3);
  for (int64_t step : {5, 7, 10}) EXPECT_EQ(schedule.rate(step), 1e-3 * 0.25);
  EXPECT_EQ(make_loss(config).settings.label_smoothing, 0.125f);
  EXPECT_EQ(make_loss({}).settings.label_smoothing, 0.0f);
  EXPECT_EQ(config.neftune_noise_alpha, 5);
}

}  // namespace
}  // namespace tessera::launch
