// The learning rate as a pure function of the step, equal to transformers' get_*_schedule_* and to
// axolotl's cosine with a floor. Nothing is stored between steps, so a resumed run needs the step
// number alone. A scheduler is a row of the table in schedule.cpp.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>

namespace tessera::optim {

/// The numbers of the values stand in checkpoints.
enum class LrScheduler {
  kCosine,
  kLinear,
  kConstant,
  kConstantWithWarmup,
  kCosineWithRestarts,
  kPolynomial,
  kInverseSqrt,
  kCosineWithMinLr,
  kCosineWarmupWithMinLr,
  kWarmupStableDecay
};

/// How the warm-up and the decay of kWarmupStableDecay run.
enum class Ramp { kLinear, kCosine, kOneMinusSqrt };

/// The arguments of single schedulers, by transformers' names. Empty: transformers' default.
struct SchedulerArguments {
  std::optional<double> num_cycles = {};         // waves, or restarts; 0.5, or 1
  std::optional<double> lr_end = {};             // a rate; 1e-7
  std::optional<double> power = {};              // 1
  std::optional<int64_t> timescale = {};         // steps; as many as the warm-up has, or 10000
  std::optional<double> min_lr = {};             // a rate
  std::optional<double> min_lr_rate = {};        // the same as a share of the peak
  std::optional<double> warmup_lr_rate = {};     // share of the peak at which the warm-up begins
  std::optional<int64_t> num_decay_steps = {};   // needed
  std::optional<int64_t> num_stable_steps = {};  // what warm-up and decay leave of all steps
  std::optional<Ramp> warmup_type = {};          // linear
  std::optional<Ramp> decay_type = {};           // cosine
  std::optional<double> min_lr_ratio = {};       // share of the peak; 0

  bool operator==(const SchedulerArguments&) const = default;
};

/// A field of SchedulerArguments.
struct SchedulerArgument {
  using Real = std::optional<double> SchedulerArguments::*;
  using Whole = std::optional<int64_t> SchedulerArguments::*;
  using Shape = std::optional<Ramp> SchedulerArguments::*;
  std::string_view key;
  std::variant<Real, Whole, Shape> field;
  double low = 0, high = 0;  // of a number
};
std::span<const SchedulerArgument> scheduler_arguments();

struct SchedulerRow {
  LrScheduler scheduler;
  std::string_view name;  // as the key `lr_scheduler` has it
  std::span<const std::string_view> arguments;
};
/// All schedulers, in the order of their numbers.
std::span<const SchedulerRow> schedulers();

/// What is wrong with the arguments for a scheduler whose peak is `learning_rate`: the text, empty
/// where nothing is, and the argument at fault; that is empty where one is missing.
struct SchedulerFault {
  std::string_view key;
  std::string text;
};
SchedulerFault fault_of(LrScheduler scheduler, const SchedulerArguments& arguments,
                        double learning_rate);

struct LrScheduleOptions {
  LrScheduler scheduler = LrScheduler::kCosine;
  double learning_rate = 2e-4;  // the peak
  int64_t warmup_steps = 0;     // ignored by kConstant
  int64_t total_steps = 0;      // ignored by both constants and by kInverseSqrt
  SchedulerArguments arguments = {};
  /// Of kCosine, as axolotl has them: the share of the peak at which it ends, and, above 0, the
  /// share of all steps after which it stays there.
  double cosine_min_ratio = 0;
  double cosine_constant_ratio = 0;
};

class LrSchedule {
 public:
  /// Error (usage) unless learning_rate is finite and not negative, the steps are not negative, and
  /// the scheduler takes its arguments.
  explicit LrSchedule(const LrScheduleOptions& options);

  /// The rate of the update that follows `step` finished ones. Step 0 is the first update; with a
  /// warm-up its rate is 0, unless an argument says otherwise. Steps past the total give what
  /// transformers gives.
  double rate(int64_t step) const { return options_.learning_rate * factor(step); }

 private:
  /// What the peak is multiplied by: transformers' lr_lambda.
  double factor(int64_t step) const;
  double factor_after_warmup(int64_t step) const;
  double cosine(int64_t step) const;
  double polynomial(int64_t step) const;
  double stable_decay(int64_t step) const;
  /// The least share of the peak.
  double floor() const;

  LrScheduleOptions options_;
};

/// ceil(total_steps * ratio), as transformers turns a ratio into warm-up steps. Error (usage)
/// unless ratio is in [0, 1].
int64_t warmup_steps_of_ratio(double ratio, int64_t total_steps);

}  // namespace tessera::optim
