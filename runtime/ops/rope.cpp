#include "runtime/ops/rope.h"

#include <numbers>

#include "runtime/core/det_math.h"
#include "runtime/core/has_cuda.h"
#include "runtime/ops/shapes.h"

namespace tessera {
namespace {

/// _compute_llama3_parameters for one frequency. Quotients of a number by a float32 tensor are a
/// reciprocal and a product there, and so here.
float llama3_frequency(float frequency, const RopeScaling& s) {
  const float original = float(s.original_max_position), factor = float(s.factor);
  const float low_wavelength = float(double(s.original_max_position) / s.low_freq_factor);
  const float high_wavelength = float(double(s.original_max_position) / s.high_freq_factor);
  const float wavelength = (1.0f / frequency) * float(2 * std::numbers::pi);
  if (wavelength > low_wavelength) return frequency / factor;
  if (wavelength < high_wavelength) return frequency;
  const float smooth = ((1.0f / wavelength) * original - float(s.low_freq_factor)) /
                       float(s.high_freq_factor - s.low_freq_factor);
  return (1.0f - smooth) * frequency / factor + smooth * frequency;
}

void check_rope(Context& ctx, const Tensor& x, const Tensor& positions, const Tensor& cos,
                const Tensor& sin) {
  TESSERA_CHECK(all_activations(ctx, {x}) && all_f32(ctx, {cos, sin}));
  TESSERA_CHECK(all_of(ctx, DType::kI32, {positions}));
  TESSERA_CHECK(cos.dims() == 2 && same_shape(cos, sin) && cos.cols() > 0);
  TESSERA_CHECK(x.rows() == positions.numel() && x.cols() % (2 * cos.cols()) == 0);
}

}  // namespace

std::vector<float> rope_frequencies(int64_t head_dim, double theta, const RopeScaling& scaling) {
  TESSERA_CHECK(head_dim > 0 && head_dim % 2 == 0 && theta > 0 && scaling.factor > 0);
  std::vector<float> frequencies;
  for (int64_t i = 0; i < head_dim; i += 2) {
    const float exponent = float(i) / float(head_dim);
    float frequency = 1.0f / float(det_pow(double(float(theta)), double(exponent)));
    if (scaling.kind == RopeScaling::Kind::kLinear) frequency /= float(scaling.factor);
    if (scaling.kind == RopeScaling::Kind::kLlama3)
      frequency = llama3_frequency(frequency, scaling);
    frequencies.push_back(frequency);
  }
  return frequencies;
}

void rope_table(Tensor cos, Tensor sin, double theta, const RopeScaling& scaling) {
  TESSERA_CHECK(cos.dims() == 2 && same_shape(cos, sin));
  const std::vector<float> frequencies = rope_frequencies(2 * cos.cols(), theta, scaling);
  float *c = cos.data<float>(), *s = sin.data<float>();
  for (int64_t position = 0; position < cos.rows(); ++position) {
    for (float frequency : frequencies) {
      const double angle = double(float(position) * frequency);
      *c++ = float(det_cos(angle));
      *s++ = float(det_sin(angle));
    }
  }
}

void rope(Context& ctx, Tensor x, Tensor positions, Tensor cos, Tensor sin) {
  check_rope(ctx, x, positions, cos, sin);
  if (ctx.measuring()) return;
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return cuda::rope(ctx, x, positions, cos, sin);
  }
  cpu::rope(ctx, x, positions, cos, sin);
}

void rope_backward(Context& ctx, Tensor dx, Tensor positions, Tensor cos, Tensor sin) {
  check_rope(ctx, dx, positions, cos, sin);
  if (ctx.measuring()) return;
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return cuda::rope_backward(ctx, dx, positions, cos, sin);
  }
  cpu::rope_backward(ctx, dx, positions, cos, sin);
}

}  // namespace tessera
