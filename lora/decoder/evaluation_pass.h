// A forward that leaves nothing for a backward: the loss of a batch, without dropout; and what it
// shares with generation.
#pragma once

#include <string>
#include <vector>

#include "lora/decoder/decoder.h"

namespace tessera::lora {

class EvaluationPass {
 public:
  explicit EvaluationPass(Decoder& decoder) : decoder_(decoder) {}

  /// Bytes that the largest batch needs. A training pass of as many tokens needs more. Error
  /// (usage) as check_tokens().
  Decoder::Memory plan(int64_t max_tokens);

  /// Sum of the losses of the supervised tokens; per-token losses appended if asked for.
  double loss(const BatchView& batch, std::vector<float>* losses);

  /// For a rank that has no batch while others of its group have: see LayerScheduler::idle_pass().
  void idle() { decoder_.scheduler().idle_pass(false); }

  /// Runs a batch whose loss is not finite once more, and says where the first bad value appears:
  /// "first in layer 3" or the like.
  std::string describe_non_finite(const BatchView& batch);

 private:
  Decoder& decoder_;
};

/// How a layer's attention is done.
using AttendAt = FunctionRef<void(int64_t layer, const BlockSaved& s, const Block& block,
                                  const BlockInput& input)>;
/// Sees every block's output [N, C] (layer -1: the embedding).
using SeeOutput = FunctionRef<void(int64_t layer, Tensor x)>;

/// The last block's output [N, C], in the decoder's activations.
Tensor run_layers(Decoder& decoder, const BatchView& batch, AttendAt attend, SeeOutput see);

}  // namespace tessera::lora
