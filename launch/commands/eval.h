// `tessera eval`: the loss on a config's data.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launch/config/config.h"
#include "launch/run/evaluate.h"

namespace tessera::launch {

/// One of a set of rows.
struct SetEvaluation : Evaluation {
  std::string set;
};

/// Evaluates what val_set_size holds out of the config's data and test_datasets, or all of the data
/// if there is neither.
/// `adapter` is a folder, "none" for the base alone, or empty: the one in output_dir if there is
/// one.
std::vector<SetEvaluation> evaluate(const Config& config,
                                    const std::optional<std::string>& adapter, Console& console);

/// {"loss": ..., "perplexity": ..., "tokens": ...}; of several sets an object of these by name.
std::string to_json(const std::vector<SetEvaluation>& evaluations);

}  // namespace tessera::launch
