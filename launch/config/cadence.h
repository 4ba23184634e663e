// How often something happens in a run: validations and checkpoints. A config says it in one of
// several units; which steps that makes is known once the run's steps are.
#pragma once

#include <cstdint>

#include "launch/config/config.h"

namespace tessera::launch {

/// After which steps something happens, beside the end of the run.
struct Cadence {
  enum class Kind {
    kNever,     // at the end only
    kSteps,     // every `number` steps
    kShare,     // every `number` of all steps, rounded up to whole steps
    kPerEpoch,  // `number` times in each epoch, at equal distances
  };
  Kind kind = Kind::kNever;
  double number = 0;

  /// A step that was just done.
  struct Moment {
    int64_t step;          // steps done, from 1
    int64_t total;         // steps of the run
    double epochs_before;  // epochs done before the step, with the fraction of the running one
    double epochs;         // the same after it
  };
  bool due(const Moment& now) const;

  bool operator==(const Cadence&) const = default;
};

/// Of validation, by eval_steps or evals_per_epoch.
Cadence eval_cadence(const Config& config);
/// Of checkpoints, by save_steps or saves_per_epoch.
Cadence save_cadence(const Config& config);

/// Whether there is nothing to validate on.
bool evaluates_nothing(const Config& config);
/// What is said then, and with the cure.
inline constexpr std::string_view kNoRowsCure =
    "there are no rows to validate on; set val_set_size, e.g. 0.05, or test_datasets";
inline constexpr std::string_view kNoRows = kNoRowsCure.substr(0, kNoRowsCure.find(';'));

}  // namespace tessera::launch
