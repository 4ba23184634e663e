// What makes a run the run that it is: a resume must find the same.
#pragma once

#include <nlohmann/json.hpp>

#include "launch/config/config.h"

namespace tessera::launch {

/// What the identity has beside the config.
struct RunMadeFrom {
  uint64_t base_hash;
  uint64_t data_hash;
  DType compute_dtype;    // in effect, which for auto is the device's
  int64_t micro_batches;  // of a full step
  int64_t total_steps;
};

/// Everything that changes what a run computes, as flat keys. Ranks and memory options do not: a
/// run may go on with others.
nlohmann::json run_identity(const Config& config, const RunMadeFrom& from);

/// What must be the same on every rank of a command: each setting, and the program itself. Threads
/// are a rank's own.
nlohmann::json what_all_run(const Config& config);

}  // namespace tessera::launch
