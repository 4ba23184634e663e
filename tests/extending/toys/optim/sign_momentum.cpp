#include "optim/sign_momentum.h"

#include <cmath>

#include "runtime/core/context.h"
#include "runtime/core/error.h"

namespace tessera::optim {

void check_sign(const OptimizerOptions& options) {
  if (options.weight_decay != 0) fail_usage("weight_decay: the sign of a moment has none; use 0");
}

void update_sign(Context& ctx, const UpdateInput& input, const StateView& state) {
  if (ctx.device().is_cuda()) fail("sign has no kernels for a GPU");
  if (state.run.bits != StateBits::k32) fail("sign has no moments of 8 bits");
  float* const m = state.values(0, 0);
  const float beta = float(input.options.beta1);
  for (size_t i = 0; i < state.run.elements(); ++i) {
    m[i] = beta * m[i] + (1.0f - beta) * input.grad_scale * input.grads[i];
    if (m[i] != 0.0f) input.params[i] -= float(input.learning_rate) * std::copysign(1.0f, m[i]);
  }
}

}  // namespace tessera::optim
