// A forward that leaves nothing for a backward: the loss of a batch, without dropout.
#pragma once

#include <string>
#include <vector>

#include "lora/decoder/decoder.h"

namespace tessera::lora {

/// Of supervised tokens, in their order.
struct TokenScores {
  std::vector<float> losses;     // without their weights
  std::vector<int32_t> guesses;  // the tokens that the model holds to be the most likely there
};

class EvaluationPass {
 public:
  /// Both must outlive it.
  EvaluationPass(Decoder& decoder, const Loss& loss) : decoder_(decoder), loss_(loss) {}

  /// Bytes that the largest batch needs. A training pass of as many tokens needs more than loss()
  /// does. Error (usage) as check_tokens().
  Decoder::Memory plan(int64_t max_tokens);

  /// Weighted sum of the losses of the supervised tokens. Appends the loss of each one, without its
  /// weight, if asked for.
  double loss(const BatchView& batch, std::vector<float>* losses);
  /// The same sum, to the bit. Appends what the model says of each token.
  double score(const BatchView& batch, TokenScores& scores);

  /// For a rank that has no batch while others of its group have: see LayerScheduler::idle_pass().
  void idle() { decoder_.scheduler().idle_pass(false); }

  /// Runs a batch whose loss is not finite once more, and says where the first bad value appears:
  /// "first in layer 3" or the like.
  std::string describe_non_finite(const BatchView& batch);

 private:
  Decoder& decoder_;
  const Loss& loss_;
};

}  // namespace tessera::lora
