// A loss turns a chunk of the head's logits into losses and their gradient. The head owns chunks,
// weighted sums and the path to the hidden states; it knows no loss by name. A new loss is a file
// of its own in this folder and a row of the table in loss.cpp.
#pragma once

#include <span>
#include <string_view>

#include "runtime/core/context.h"
#include "runtime/core/tensor.h"

namespace tessera::lora {

/// What losses can be asked for. A loss uses what its own file says.
struct LossSettings {
  /// Share of a target that is spread over the vocabulary, in [0, 1), as transformers'
  /// label_smoothing_factor.
  float label_smoothing = 0.0f;
};

/// n supervised tokens. Tensors lie where the context computes.
struct LossChunk {
  Tensor losses;  // [n] f32: overwritten with each token's loss, without weight and scale
  Tensor logits;  // [n, V] of the activations' dtype: overwritten with the gradient, with respect
                  // to the logits, of scale * sum of weights[i] * losses[i]
  std::span<const int32_t> targets;  // [n] token ids, in host memory; not read while measuring
  Tensor weights;                    // [n] f32, or empty: every weight is 1
  float scale;
  LossSettings settings = {};
};

struct Loss {
  std::string_view name;  // as a config has it
  /// Error for a target that is not in [0, V).
  void (*compute)(Context& ctx, const LossChunk& chunk);
  LossSettings settings = {};  // of a run; the table has the defaults
};

/// All losses. The first is the default.
std::span<const Loss> losses();
const Loss& default_loss();

}  // namespace tessera::lora
