// Whether this process is one of many ranks, by what mpirun and srun put into the environment, and
// the communicator that goes with it. A process that runs alone, or as the only rank, never starts
// MPI: starting it opens network ports.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "parallel/communicator.h"
#include "runtime/core/function_ref.h"

namespace tessera::parallel {

/// As getenv: null where a variable is not set.
using Environment = FunctionRef<const char*(const char*)>;

struct Launcher {
  std::string name;  // for messages
  int ranks;         // 0: only MPI knows
};
/// What started this process as one of several ranks; nothing where it is alone. Error where it is
/// one of several that cannot find each other, or a variable makes no sense.
std::optional<Launcher> find_launcher(Environment environment);

/// All ranks of the job, as start_mpi(), or alone. `on_abort` is that of MpiOptions; alone it is
/// never called. Error where MPI finds other ranks than the
/// launcher started.
std::unique_ptr<Communicator> start_world(
    Environment environment, std::function<int(int rank, std::string_view message)> on_abort);

}  // namespace tessera::parallel
