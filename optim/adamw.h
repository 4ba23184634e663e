// AdamW with 32-bit state over flat float32 spans: decoupled weight decay, bias correction.
// The formula, and the order of its roundings, are those of torch.optim.AdamW (foreach=False) on
// the CPU. Every element is updated on its own, so the bits depend neither on the thread count nor
// on the vector width, and a step over slices equals a step over the whole.
#pragma once

#include <cstdint>
#include <span>

#include "runtime/core/buffer.h"
#include "runtime/core/context.h"

namespace tessera::optim {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.0;
};

class AdamW {
 public:
  /// State for `elements` parameters: both moments zero, no step taken. Error (usage) unless
  /// 0 <= beta < 1, eps >= 0 and weight_decay >= 0, all finite.
  AdamW(size_t elements, AdamWOptions options);

  /// One step, in place. `params` and `grads` have size() elements; each gradient is first
  /// multiplied by `grad_scale` (the clip factor; 1 changes nothing). Error, before anything is
  /// changed, unless `lr` is finite and not negative.
  void step(Context& ctx, std::span<float> params, std::span<const float> grads, double lr,
            float grad_scale);

  size_t size() const { return elements_; }
  const AdamWOptions& options() const { return options_; }

  /// The state a checkpoint holds: the first moment m, the second moment v and the step count.
  int64_t steps_taken() const { return steps_taken_; }
  std::span<float> m() { return {m_.as<float>(), elements_}; }
  std::span<float> v() { return {v_.as<float>(), elements_}; }
  std::span<const float> m() const { return {m_.as<float>(), elements_}; }
  std::span<const float> v() const { return {v_.as<float>(), elements_}; }
  /// The step count of a checkpoint whose moments were written into m() and v(). Error if negative.
  void set_steps_taken(int64_t steps);

 private:
  size_t elements_;
  AdamWOptions options_;
  Buffer m_;
  Buffer v_;
  int64_t steps_taken_ = 0;
};

}  // namespace tessera::optim
