#include "lora/model/spec.h"

#include <cmath>
#include <limits>

#include "runtime/core/error.h"

namespace tessera::lora {
namespace {

void check_layer(const LayerSpec& layer, std::string_view source) {
  const auto within = [&](const char* what, int64_t value, int64_t max) {
    if (value < 1 || value > max) {
      fail("{}: {} is {}, expected 1 to {}", source, what, value, max);
    }
  };
  const AttentionSpec& attention = layer.attention;
  within("the feed-forward size", layer.mlp.width, SpecLimits::kFfn);
  within("the number of heads", attention.heads, SpecLimits::kWidth);
  within("the number of kv heads", attention.kv_heads, attention.heads);
  within("the head size", attention.head_dim, SpecLimits::kWidth);
  within("heads times head size", attention.q_size(), SpecLimits::kWidth);
  if (attention.heads % attention.kv_heads != 0) {
    fail("{}: {} heads are not a multiple of {} kv heads", source, attention.heads,
         attention.kv_heads);
  }
  if (attention.window < 0) fail("{}: the window of attention is {}", source, attention.window);
}

/// The operators take scales as float32.
void check_scales(const ModelSpec& spec, std::string_view source) {
  using Float = std::numeric_limits<float>;
  const auto check = [&](const char* what, double value, double none) {
    if (value == none || (value >= Float::denorm_min() && value <= Float::max())) return;
    fail("{}: the {} is {}, which as float32 is not a finite number above zero", source, what,
         value);
  };
  for (const LayerSpec& layer : spec.layers) {
    check("scale of attention scores", layer.attention.score_scale, 0);
    check("bound of attention scores", layer.attention.softcap, 0);
    check("scale of residuals", layer.residual_scale, 1);
  }
  check("scale of the embedding", spec.embedding_scale, 1);
  check("scale of the logits", spec.logit_scale, 1);
  check("bound of the logits", spec.logit_softcap, 0);
}

void check_rope(const Rope& rope, std::string_view source) {
  const auto positive = [&](const char* what, double value) {
    if (!(value > 0.0 && std::isfinite(value))) {
      fail("{}: the rotary {} is {}, expected a number above zero", source, what, value);
    }
  };
  positive("base", rope.theta);
  positive("factor", rope.scaling.factor);
  positive("attention factor", rope.attention_factor);
  using Kind = RopeScaling::Kind;
  const RopeScaling& scaling = rope.scaling;
  if (scaling.kind == Kind::kLlama3 && !(scaling.low_freq_factor < scaling.high_freq_factor)) {
    fail("{}: low_freq_factor {} is not below high_freq_factor {}", source, scaling.low_freq_factor,
         scaling.high_freq_factor);
  }
  if (scaling.kind == Kind::kYarn && rope.theta <= 1.0) {
    fail("{}: rope_type yarn needs a rotary base above 1, this one is {}", source, rope.theta);
  }
  if (scaling.kind == Kind::kDynamic && rope.dims < 3) {
    fail("{}: rope_type dynamic needs heads of more than 2 dimensions", source);
  }
  for (const auto* factors : {&scaling.short_factors, &scaling.long_factors}) {
    if (scaling.kind == Kind::kLongrope && int64_t(factors->size()) != rope.half()) {
      fail("{}: longrope has {} factors, {} frequencies turn", source, factors->size(),
           rope.half());
    }
    for (double factor : *factors) positive("factor of longrope", factor);
  }
}

/// Every layer that turns its heads names a rule that fits them.
void check_ropes(const ModelSpec& spec, std::string_view source) {
  for (const Rope& rope : spec.ropes) check_rope(rope, source);
  for (const LayerSpec& layer : spec.layers) {
    const AttentionSpec& attention = layer.attention;
    if (attention.rope == AttentionSpec::kNoRope) continue;
    TESSERA_CHECK(attention.rope >= 0 && size_t(attention.rope) < spec.ropes.size());
    const Rope& rope = spec.ropes[size_t(attention.rope)];
    if (rope.dims < 1) fail("{}: no dimension of a head turns by its position", source);
    if (2 * rope.half() > attention.head_dim) {
      fail("{}: {} of {} dimensions of a head turn by their position; rotary positions need pairs",
           source, rope.dims, attention.head_dim);
    }
  }
}

}  // namespace

void check_layers(int64_t layers, std::string_view source) {
  if (layers >= 1 && layers <= SpecLimits::kLayers) return;
  fail("{}: the number of layers is {}, expected 1 to {}", source, layers, SpecLimits::kLayers);
}

void check_spec(const ModelSpec& spec, std::string_view source) {
  const auto within = [&](const char* what, int64_t value, int64_t max) {
    if (value < 1 || value > max) {
      fail("{}: {} is {}, expected 1 to {}", source, what, value, max);
    }
  };
  within("the hidden size", spec.hidden, SpecLimits::kWidth);
  check_layers(spec.layer_count(), source);
  within("the vocabulary size", spec.vocab, SpecLimits::kVocab);
  within("the number of positions", spec.max_position, SpecLimits::kPosition);
  for (const LayerSpec& layer : spec.layers) check_layer(layer, source);
  if (!(spec.rms_eps > 0.0f && std::isfinite(spec.rms_eps))) {
    fail("{}: the epsilon of the norms is {}, expected a number above zero", source, spec.rms_eps);
  }
  check_scales(spec, source);
  check_ropes(spec, source);
}

}  // namespace tessera::lora
