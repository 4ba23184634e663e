// How many CPU threads a rank uses.
#pragma once

#include <cstdint>
#include <optional>

#include "parallel/communicator.h"

namespace tessera::launch {

/// CPU threads to use: as configured, or every core of this process's affinity mask, as far as its
/// container's quota goes.
int thread_count(const std::optional<int64_t>& configured);
/// The same, the cores shared out among the ranks of this node that have the same mask, and the
/// quota among all ranks of this node. Collective.
int thread_count(const std::optional<int64_t>& configured, parallel::Communicator& world);

}  // namespace tessera::launch
