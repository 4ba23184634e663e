// Held-out loss: the loop that training and `tessera eval` share.
#pragma once

#include "launch/console/progress.h"
#include "lora/decoder/evaluation_pass.h"
#include "runtime/core/function_ref.h"

namespace tessera::launch {

struct Evaluation {
  double loss = 0;     // weighted mean over the supervised tokens
  int64_t tokens = 0;  // supervised

  double perplexity() const;
};

/// Which batches to evaluate: their number, and the making of each.
struct BatchSource {
  int64_t size;
  FunctionRef<lora::Batch(size_t)> batch;
};

/// The mean loss of `batches`, for which the decoder's memory must be planned. The ranks share them
/// out; all get the same bits, whatever their number. Collective. Error where all weights are 0.
Evaluation evaluate(lora::Decoder& decoder, const lora::Loss& loss, const BatchSource& batches,
                    parallel::Communicator& world, Console& console);

/// Called for each batch of this rank, in order, with what the model says of its tokens.
using SeeScores =
    FunctionRef<void(size_t index, const lora::Batch& batch, const lora::TokenScores& scores)>;

/// The same, to the bit, and shows what the model says.
Evaluation evaluate(lora::Decoder& decoder, const lora::Loss& loss, const BatchSource& batches,
                    parallel::Communicator& world, Console& console, SeeScores see);

}  // namespace tessera::launch
