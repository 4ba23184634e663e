#include "lora/model/spec.h"

#include <cmath>

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
  if (attention.head_dim % 2 != 0) {
    fail("{}: the head size {} is odd; rotary positions need pairs", source, attention.head_dim);
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
  if (!(spec.rope_theta > 0.0 && std::isfinite(spec.rope_theta))) {
    fail("{}: the rotary base is {}, expected a number above zero", source, spec.rope_theta);
  }
  const RopeScaling& scaling = spec.rope_scaling;
  if (scaling.kind == RopeScaling::Kind::kLlama3 &&
      !(scaling.low_freq_factor < scaling.high_freq_factor)) {
    fail("{}: low_freq_factor {} is not below high_freq_factor {}", source, scaling.low_freq_factor,
         scaling.high_freq_factor);
  }
}

}  // namespace tessera::lora
