// The CPU, and whether Tessera runs on it.
#pragma once

#include <string>

namespace tessera::launch {

/// As /proc/cpuinfo names it.
std::string cpu_name();

/// What of the needed instruction sets the CPU lacks, "AVX2, FMA"; empty when it can run Tessera.
std::string missing_cpu_features();

/// Error when the CPU lacks what every operator needs. For the start of each command that computes:
/// without it the first operator would end the process by SIGILL.
void require_cpu();

}  // namespace tessera::launch
