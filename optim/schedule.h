// The learning rate as a pure function of the step, equal to transformers' get_*_schedule_*.
// Nothing is stored between steps, so a resumed run needs the step number alone.
#pragma once

#include <cstdint>

namespace tessera::optim {

/// The numbers of the values stand in checkpoints.
enum class LrScheduler { kCosine, kLinear, kConstant, kConstantWithWarmup };

struct LrScheduleOptions {
  LrScheduler scheduler = LrScheduler::kCosine;
  double learning_rate = 2e-4;  // the peak
  int64_t warmup_steps = 0;     // ignored by kConstant
  int64_t total_steps = 0;      // ignored by both constants
};

class LrSchedule {
 public:
  /// Error (usage) unless learning_rate is finite and not negative, and the steps not negative.
  explicit LrSchedule(const LrScheduleOptions& options);

  /// The rate of the update that follows `step` finished ones: step 0 is the first update, which
  /// has rate 0 wherever there is a warm-up. Steps past the total give what transformers gives.
  double rate(int64_t step) const;

 private:
  LrScheduleOptions options_;
};

/// ceil(total_steps * ratio), as transformers turns a ratio into warm-up steps. Error (usage)
/// unless ratio is in [0, 1].
int64_t warmup_steps_of_ratio(double ratio, int64_t total_steps);

}  // namespace tessera::optim
