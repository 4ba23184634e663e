// The element-wise AdamW update on the CPU, single-threaded; the caller splits the work.
// All scalars are rounded to float32 as torch does when it meets a tensor.
#pragma once

#include <span>

namespace tessera::optim::cpu {

struct AdamWScalars {
  float grad_scale;
  float decay;  // 1 - lr * weight_decay
  float one_minus_beta1;
  float beta2;
  float one_minus_beta2;
  float correction2_sqrt;  // sqrt(1 - beta2^t)
  float eps;
  float minus_step_size;  // -lr / (1 - beta1^t)
};

/// Updates params, m and v in place; the four spans have one size.
void adamw(const AdamWScalars& scalars, std::span<float> params, std::span<const float> grads,
           std::span<float> m, std::span<float> v);

}  // namespace tessera::optim::cpu
