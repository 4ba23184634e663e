// Held-out loss: the loop that training and `tessera eval` share, and the command.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launch/config.h"
#include "launch/progress.h"
#include "lora/decoder/decoder.h"

namespace tessera::launch {

struct Evaluation {
  double loss = 0;     // mean over the supervised tokens
  int64_t tokens = 0;  // supervised

  double perplexity() const;
};

/// The mean loss of `batches`, for which the decoder's memory must be planned. The ranks share them
/// out; all get the same bits, whatever their number. Collective.
Evaluation evaluate(lora::Decoder& decoder, const std::vector<lora::Batch>& batches,
                    parallel::Communicator& world, Console& console);

/// Evaluates the validation split of the config's data, or all of it if there is no split.
/// `adapter` is a folder, "none" for the base alone, or empty: the one in output_dir if there is
/// one.
Evaluation evaluate(const Config& config, const std::optional<std::string>& adapter,
                    Console& console);

/// {"loss": ..., "perplexity": ..., "tokens": ...}
std::string to_json(const Evaluation& evaluation);

}  // namespace tessera::launch
