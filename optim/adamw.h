// AdamW: decoupled weight decay, bias correction. 32-bit moments follow the formula and roundings
// of torch.optim.AdamW (foreach=False) on the CPU, 8-bit ones the rule of bitsandbytes' CUDA kernel
// kOptimizerStatic8bit2StateBlockwise in float32 without contraction. CPU and GPU give the same
// bits.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "optim/rule.h"

namespace tessera::optim {

inline constexpr std::string_view kAdamWMoments[] = {"exp_avg", "exp_avg_sq"};  // m and v
inline constexpr RuleOption kAdamWOptions[] = {
    {"adam_beta1", &OptimizerOptions::beta1},
    {"adam_beta2", &OptimizerOptions::beta2},
    {"adam_epsilon", &OptimizerOptions::eps},
    {"weight_decay", &OptimizerOptions::weight_decay},
};

/// Error (usage) unless 0 <= beta < 1, eps >= 0 and weight_decay >= 0, all finite.
void check_adamw(const OptimizerOptions& options);

/// See Rule. With 8 bits, an element whose gradient is not finite is left out.
void update_adamw(Context& ctx, const UpdateInput& input, const StateView& state);

/// All rounded to float32, as torch does when a scalar meets a tensor.
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

struct Moments32bit {
  float* m;
  float* v;
};

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

/// Codes by element, largest magnitudes by block of kStateBlock. m decodes to kDynamicSigned[code]
/// * absmax, v to kDynamicUnsigned[code] * absmax.
struct Moments8bit {
  uint8_t* m_codes;
  uint8_t* v_codes;
  float* m_absmax;
  float* v_absmax;
};

/// Single-threaded; the caller splits the work.
namespace cpu {
void adamw(const AdamWScalars& scalars, std::span<float> params, std::span<const float> grads,
           const Moments32bit& moments);
/// params and grads start at a block; the last block may be short, its moments are whole all the
/// same. An element whose gradient is not finite keeps its parameter and gets zero moments.
void adamw_8bit(const AdamW8bitScalars& scalars, std::span<float> params,
                std::span<const float> grads, const Moments8bit& moments);
}  // namespace cpu

/// The same of memory of the context's device.
namespace cuda {
void adamw(Context& ctx, const AdamWScalars& scalars, std::span<float> params,
           std::span<const float> grads, const Moments32bit& moments);
void adamw_8bit(Context& ctx, const AdamW8bitScalars& scalars, std::span<float> params,
                std::span<const float> grads, const Moments8bit& moments);
}  // namespace cuda

}  // namespace tessera::optim
