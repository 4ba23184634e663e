// What the evaluations of a run have come to: the best so far, and how many since did not gain. The
// rules are those of transformers' Trainer and EarlyStoppingCallback; a lower loss is better.
#pragma once

#include <cstdint>
#include <optional>

namespace tessera::launch {

struct EvaluationRecord {
  std::optional<double> best;  // loss; empty: nothing is evaluated yet
  int64_t best_step = 0;
  int64_t without_gain = 0;  // evaluations in a row

  /// Takes the `loss` after `step`. A gain is more than `threshold` below the best before it.
  /// Returns whether it is the best so far, by however little; of equal ones the first stays so.
  bool add(int64_t step, double loss, double threshold) {
    const bool gains = !best || *best - loss > threshold;
    without_gain = gains ? 0 : without_gain + 1;
    if (best && !(loss < *best)) return false;
    best = loss;
    best_step = step;
    return true;
  }

  bool operator==(const EvaluationRecord&) const = default;
};

}  // namespace tessera::launch
