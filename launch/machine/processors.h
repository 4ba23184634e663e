// The processors of this machine: whether Tessera runs on them, and how many a rank uses.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "parallel/communicator.h"

namespace tessera::launch {

/// As /proc/cpuinfo names it.
std::string cpu_name();

/// What of the needed instruction sets the CPU lacks, "AVX2, FMA"; empty when it can run Tessera.
std::string missing_cpu_features();

/// Error when the CPU lacks what every operator needs. For the start of each command that computes:
/// without it the first operator would end the process by SIGILL.
void require_cpu();

/// CPU threads to use: as configured, or every core of this process's affinity mask, as far as its
/// container's quota goes.
int thread_count(const std::optional<int64_t>& configured);
/// The same, the cores shared out among the ranks of this node that have the same mask, and the
/// quota among all ranks of this node. Collective.
int thread_count(const std::optional<int64_t>& configured, parallel::Communicator& world);

}  // namespace tessera::launch
