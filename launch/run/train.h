// `tessera train`: one run from a config to an adapter. And its parts, of which a search makes runs
// that share what was read and the base.
#pragma once

#include "launch/config/config.h"
#include "launch/run/run_machine.h"
#include "launch/run/run_start.h"
#include "parallel/communicator.h"
#include "runtime/core/function_ref.h"

namespace tessera::launch {

/// Exit codes of a run that ends without an Error.
inline constexpr int kFinished = 0;
inline constexpr int kStopped = 3;  // by a signal, after a checkpoint; resumable

/// Trains as `config` says, with all ranks of `world`: collective. Returns kFinished or kStopped;
/// throws Error.
int train(const Config& config, parallel::Communicator& world);

/// A run over a base that is loaded. All outlive the call.
struct RunParts {
  RunStart& start;
  const RunPlan& plan;
  LoadedModel& model;
  RunFolder& folder;
};

/// The run, from its start or the newest checkpoint to its end. As train().
int train_all(const RunParts& run);
/// The same until `last` steps are done, or none is left: saves a checkpoint and calls `measure`.
/// Error Diverged where the loss or the gradient is not finite, or the loss too high.
int train_until(const RunParts& run, int64_t last,
                FunctionRef<void(RunMachine& machine, const RunState& state)> measure);

}  // namespace tessera::launch
