// `tessera eval`: how well a model says a config's data.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launch/config/config.h"
#include "launch/run/evaluate.h"
#include "launch/run/sample_scores.h"

namespace tessera::launch {

/// One of a set of rows.
struct SetEvaluation : Evaluation {
  std::string set;
  SetScore score;
};

struct EvalOptions {
  Config config;
  /// A folder, "none" for the base alone, or empty: the one in output_dir if there is one, else
  /// that of lora_model_dir.
  std::optional<std::string> adapter = {};
  std::optional<std::string> per_sample = {};  // file of a line for each sample
};

/// Evaluates what val_set_size holds out of the config's data and test_datasets, or all of the data
/// if there is neither. The same on any number of ranks, of which the first writes. Collective.
std::vector<SetEvaluation> evaluate(const EvalOptions& options, parallel::Communicator& world,
                                    Console& console);

/// {"loss": ..., "perplexity": ..., "token_accuracy": ..., "exact_match": ..., "tokens": ...,
/// "samples": ...}; of several sets an object of these by name.
std::string to_json(const std::vector<SetEvaluation>& evaluations);

}  // namespace tessera::launch
