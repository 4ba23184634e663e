// `tessera eval`: the loss on a config's data.
#pragma once

#include <optional>
#include <string>

#include "launch/config/config.h"
#include "launch/run/evaluate.h"

namespace tessera::launch {

/// Evaluates the validation split of the config's data, or all of it if there is no split.
/// `adapter` is a folder, "none" for the base alone, or empty: the one in output_dir if there is
/// one.
Evaluation evaluate(const Config& config, const std::optional<std::string>& adapter,
                    Console& console);

/// {"loss": ..., "perplexity": ..., "tokens": ...}
std::string to_json(const Evaluation& evaluation);

}  // namespace tessera::launch
