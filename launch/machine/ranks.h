// Commands that many ranks run together: how they find each other, and how their errors end.
#pragma once

#include "launch/console/progress.h"
#include "parallel/communicator.h"
#include "runtime/core/function_ref.h"

namespace tessera::launch {

/// Runs `body` with all ranks that mpirun or srun started, or with this process alone, and returns
/// its exit code. Alone, what it throws comes through. Among many, an error of one rank is printed
/// by it and ends all of them; one that all ranks share is printed once.
int run_on_ranks(FunctionRef<int(parallel::Communicator& world)> body);

/// Says how a run is stopped, where this is a rank of Open MPI's mpirun that leaves its ranks
/// little time to save a checkpoint.
void note_on_stopping(Console& console);

/// Error (usage) where this process is one of several: for a command that runs alone.
void require_alone(const char* command);

}  // namespace tessera::launch
