#include "launch/machine/ranks.h"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>

#include "launch/console/progress.h"
#include "launch/machine/agreement.h"
#include "parallel/launcher.h"
#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

const auto environment = [](const char* name) -> const char* { return std::getenv(name); };

constexpr int kEnoughToStop = 30;  // seconds: for a step and its checkpoint

int say_and_fail(int rank, std::string_view message) {
  fmt::print(stderr, "tessera: rank {}: {}\n", rank, message);
  return int(Fault::kFailure);
}

}  // namespace

int run_on_ranks(FunctionRef<int(parallel::Communicator&)> body) {
  const auto world = parallel::start_world(environment, say_and_fail);
  if (world->size() == 1) return body(*world);
  try {
    return body(*world);
  } catch (const SharedError& error) {
    if (world->rank() == 0) print_error(error.what());
    return int(error.fault());
  } catch (const std::exception& error) {
    world->abort(error.what());
    return int(Fault::kFailure);
  }
}

void note_on_stopping(Console& console) {
  if (!environment("OMPI_COMM_WORLD_SIZE") || !environment("OMPI_MCA_orte_launch")) return;
  const char* seconds = environment("OMPI_MCA_odls_base_sigkill_timeout");
  if (std::atoi(seconds ? seconds : "1") >= kEnoughToStop) return;
  console.line(
      "note     to stop with a checkpoint, send mpirun SIGUSR1: a while after SIGTERM or SIGINT it "
      "kills ranks that are not through with their step (docs/ranks.md)");
}

void require_alone(const char* command) {
  if (const auto launcher = parallel::find_launcher(environment)) {
    fail_usage("{} runs as one process, but {} started several; leave that out", command,
               launcher->name);
  }
}

}  // namespace tessera::launch
