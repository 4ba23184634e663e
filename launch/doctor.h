// `tessera doctor`: what this machine has, and whether Tessera runs on it.
#pragma once

#include <string>

namespace tessera::launch {

inline constexpr const char* kVersion = "0.1.0";

/// What of the needed instruction sets the CPU lacks, "AVX2, FMA"; empty when it can run Tessera.
std::string missing_cpu_features();

/// Error when the CPU lacks what every operator needs. For the start of each command that computes:
/// without it the first operator would end the process by SIGILL.
void require_cpu();

/// The report; a text of lines.
std::string diagnose();

}  // namespace tessera::launch
