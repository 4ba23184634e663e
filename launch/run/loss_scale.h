// The factor that float16 gradients are kept within range by. A step whose gradient overflows is
// skipped and the factor halved; after many good ones it is doubled. Powers of two, so that a
// factor changes no bit but by what under- or overflows.
#pragma once

#include <cstdint>

namespace tessera::launch {

struct LossScale {
  bool dynamic = false;  // false: always 1
  double factor = 1.0;
  int64_t good_steps = 0;  // since the factor changed
  int64_t skipped = 0;     // in all

  /// The rule and numbers of torch.amp.GradScaler.
  static LossScale for_float16() { return {.dynamic = true, .factor = 65536.0}; }

  void step_was_good() {
    constexpr int64_t kGrowEvery = 2000;
    if (!dynamic || ++good_steps < kGrowEvery) return;
    factor *= 2.0;
    good_steps = 0;
  }
  void step_was_skipped() {
    factor *= 0.5;
    good_steps = 0;
    ++skipped;
  }
};

}  // namespace tessera::launch
