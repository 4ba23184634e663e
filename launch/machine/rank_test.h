// Whether ranks find each other here: `mpirun` starts two, which exchange a message.
#pragma once

#include <string>

#include "launch/machine/finding.h"

namespace tessera::launch {

/// The option of `tessera doctor` that makes a process one of the two.
inline constexpr const char* kRankOfTest = "--rank-of-test";

/// Starts two ranks of this program, and waits `seconds` at most.
Finding test_two_ranks(double seconds);
/// What such a rank does; the exit code. Collective.
int run_rank_of_test();

}  // namespace tessera::launch
