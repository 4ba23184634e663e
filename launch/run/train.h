// `tessera train`: one run from a config to an adapter.
#pragma once

#include "launch/config/config.h"
#include "parallel/communicator.h"

namespace tessera::launch {

/// Exit codes of a run that ends without an Error.
inline constexpr int kFinished = 0;
inline constexpr int kStopped = 3;  // by a signal, after a checkpoint; resumable

/// Trains as `config` says, with all ranks of `world`: collective. Returns kFinished or kStopped;
/// throws Error.
int train(const Config& config, parallel::Communicator& world);

}  // namespace tessera::launch
