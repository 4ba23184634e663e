// Whether a folder is fit for the checkpoints of runs: how fast and how much can be written there,
// and whether runs can lock it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "launch/machine/finding.h"

namespace tessera::launch {

/// Writes up to `bytes` to a file in `folder`, which has no name so that nothing of it can stay,
/// then makes and removes a lock file. `required`: a folder that cannot be written to is kBroken,
/// not kLacking. Error when a signal stops it (see StopSignals).
std::vector<Finding> check_storage(const std::string& folder, int64_t bytes, bool required);

/// The memory that ranks of this machine exchange messages through: /dev/shm.
Finding check_shared_memory(const std::string& folder);

}  // namespace tessera::launch
