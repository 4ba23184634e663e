#include "runtime/ops/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "runtime/core/det_math.h"
#include "runtime/core/has_cuda.h"
#include "runtime/ops/shapes.h"

namespace tessera {
namespace {

// Quotients of a number by a float32 tensor are a reciprocal and a product in torch, and so here.

/// base ** (2i / dims) in float32.
float wavelength_over_2pi(float base, const Rope& rope, int64_t i) {
  const float exponent = float(2 * i) / float(rope.dims);
  return float(det_pow(double(base), double(exponent)));
}

/// The base of _compute_dynamic_ntk_parameters.
float dynamic_base(const Rope& rope, int64_t length) {
  if (length <= rope.scaling.original_max_position) return float(rope.theta);
  const auto original = float(rope.scaling.original_max_position);
  const auto dims = double(rope.dims);
  const float stretch = float(rope.scaling.factor) * float(length) / original;
  const float ratio = stretch - float(rope.scaling.factor - 1.0);
  return float(rope.theta) * float(det_pow(double(ratio), dims / (dims - 2.0)));
}

/// _compute_llama3_parameters for one frequency.
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

/// _compute_yarn_parameters: between which frequencies the ramp lies.
struct YarnRamp {
  explicit YarnRamp(const Rope& rope) {
    const RopeScaling& s = rope.scaling;
    const auto dims = double(rope.dims);
    const auto correction = [&](double turns) {
      const double original = double(s.original_max_position);
      return dims * det_log(original / (turns * 2 * std::numbers::pi)) / (2 * det_log(rope.theta));
    };
    low = correction(s.beta_fast);
    high = correction(s.beta_slow);
    if (s.truncate) {
      low = std::floor(low);
      high = std::ceil(high);
    }
    low = std::max(low, 0.0);
    high = std::min(high, dims - 1);
    if (low == high) high += 0.001;
  }
  /// 0 up to `low`, 1 from `high` on.
  float at(int64_t i) const {
    return std::clamp((float(i) - float(low)) / float(high - low), 0.0f, 1.0f);
  }
  double low, high;
};

float yarn_frequency(float wavelength, float ramp, double factor) {
  const float extrapolated = 1.0f / wavelength;
  const float interpolated = 1.0f / (float(factor) * wavelength);
  const float share = 1.0f - ramp;
  return interpolated * (1.0f - share) + extrapolated * share;
}

/// By how much a query at a position is longer: 1 for models that do not lengthen them.
float query_length(const Rope& rope, int64_t position) {
  const double periods = std::floor(double(float(position) / float(rope.query_period)));
  return 1.0f + float(rope.query_growth) * float(det_log(1.0 + periods));
}

void check_turn(Context& ctx, const Tensor& x, const RopeTurn& turn) {
  const Tensor& cos = turn.cos;
  TESSERA_CHECK(all_activations(ctx, {x}) && all_f32(ctx, {cos, turn.sin}));
  TESSERA_CHECK(all_of(ctx, DType::kI32, {turn.rows}) && x.rows() == turn.rows.numel());
  TESSERA_CHECK(cos.dims() == 2 && same_shape(cos, turn.sin) && cos.cols() > 0);
  TESSERA_CHECK(turn.head_dim >= 2 * cos.cols() && x.cols() % turn.head_dim == 0);
}

}  // namespace

std::vector<float> rope_frequencies(const Rope& rope, int64_t length) {
  using Kind = RopeScaling::Kind;
  const RopeScaling& s = rope.scaling;
  TESSERA_CHECK(rope.dims > 0 && rope.theta > 0 && s.factor > 0);
  const std::vector<double>& factors =
      length > s.original_max_position ? s.long_factors : s.short_factors;
  TESSERA_CHECK(s.kind != Kind::kLongrope || int64_t(factors.size()) == rope.half());
  const float base = s.kind == Kind::kDynamic ? dynamic_base(rope, length) : float(rope.theta);
  const YarnRamp ramp(rope);
  std::vector<float> frequencies;
  for (int64_t i = 0; i < rope.half(); ++i) {
    const float wavelength = wavelength_over_2pi(base, rope, i);
    const float plain = 1.0f / wavelength;
    switch (s.kind) {
      case Kind::kNone:
      case Kind::kDynamic:
        frequencies.push_back(plain);
        break;
      case Kind::kLinear:
        frequencies.push_back(plain / float(s.factor));
        break;
      case Kind::kLlama3:
        frequencies.push_back(llama3_frequency(plain, s));
        break;
      case Kind::kYarn:
        frequencies.push_back(yarn_frequency(wavelength, ramp.at(i), s.factor));
        break;
      case Kind::kLongrope:
        frequencies.push_back(1.0f / (float(factors[size_t(i)]) * wavelength));
        break;
    }
  }
  return frequencies;
}

void rope_table(Tensor cos, Tensor sin, const Rope& rope, const RopePositions& positions) {
  TESSERA_CHECK(cos.dims() == 2 && same_shape(cos, sin) && cos.cols() == rope.half());
  const std::vector<float> frequencies = rope_frequencies(rope, positions.length);
  float *c = cos.data<float>(), *s = sin.data<float>();
  for (int64_t row = 0; row < cos.rows(); ++row) {
    const int64_t position = positions.first + row;
    float factor = float(rope.attention_factor);
    if (positions.of_queries) factor *= query_length(rope, position);
    for (float frequency : frequencies) {
      const double angle = double(float(position) * frequency);
      *c++ = float(det_cos(angle)) * factor;
      *s++ = float(det_sin(angle)) * factor;
    }
  }
}

void rope(Context& ctx, Tensor x, const RopeTurn& turn) {
  check_turn(ctx, x, turn);
  if (ctx.measuring()) return;
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return cuda::rope(ctx, x, turn);
  }
  cpu::rope(ctx, x, turn);
}

void rope_backward(Context& ctx, Tensor dx, const RopeTurn& turn) {
  check_turn(ctx, dx, turn);
  if (ctx.measuring()) return;
  if constexpr (kHasCuda) {
    if (ctx.device().is_cuda()) return cuda::rope_backward(ctx, dx, turn);
  }
  cpu::rope_backward(ctx, dx, turn);
}

}  // namespace tessera
