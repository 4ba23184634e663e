// The AdamW update with 8-bit block-wise moments on the CPU, single-threaded; the caller splits the
// work at blocks of 256 elements. The rule is that of bitsandbytes' CUDA kernel
// kOptimizerStatic8bit2StateBlockwise, in float32 without contraction.
#pragma once

#include <cstdint>
#include <span>

namespace tessera::optim::cpu {

struct AdamW8bitScalars {
  float grad_scale;
  float beta1;
  float one_minus_beta1;
  float beta2;
  float one_minus_beta2;
  float minus_step_size;  // -lr * sqrt(1 - beta2^t) / (1 - beta1^t)
  float eps;              // eps * sqrt(1 - beta2^t)
  float decay;            // 1 - lr * weight_decay
};

/// Codes by element, largest magnitudes by block. m decodes to kDynamicSigned[code] * absmax, v to
/// kDynamicUnsigned[code] * absmax.
struct Moments8bit {
  uint8_t* m_codes;
  uint8_t* v_codes;
  float* m_absmax;
  float* v_absmax;
};

/// Updates params and moments in place. params and grads start at a block; the last block may be
/// short. An element whose gradient is not finite keeps its parameter and gets zero moments.
void adamw_8bit(const AdamW8bitScalars& scalars, std::span<float> params,
                std::span<const float> grads, const Moments8bit& moments);

}  // namespace tessera::optim::cpu
