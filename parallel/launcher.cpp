#include "parallel/launcher.h"

#include <charconv>
#include <climits>
#include <utility>

#include "parallel/load_mpi.h"
#include "parallel/self_communicator.h"
#include "runtime/core/error.h"

namespace tessera::parallel {

namespace {

/// A number of ranks; nothing where the variable is not set.
std::optional<int> ranks_in(Environment environment, const char* variable) {
  const char* text = environment(variable);
  if (!text) return std::nullopt;
  const std::string_view digits = text;
  int ranks = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), ranks);
  if (error != std::errc() || end != digits.data() + digits.size() || ranks < 1) {
    fail("{}={} in the environment: expected a number of ranks", variable, text);
  }
  return ranks;
}

}  // namespace

std::optional<Launcher> find_launcher(Environment environment) {
  const auto several = [](Launcher launcher) -> std::optional<Launcher> {
    if (launcher.ranks == 1) return std::nullopt;
    return launcher;
  };
  // mpirun first: inside a Slurm job its ranks see Slurm's variables, too.
  if (const auto ranks = ranks_in(environment, "OMPI_COMM_WORLD_SIZE")) {
    return several({"mpirun", *ranks});
  }
  std::optional<int> tasks = ranks_in(environment, "SLURM_STEP_NUM_TASKS");
  if (environment("PMIX_RANK")) {
    if (!tasks) tasks = ranks_in(environment, "SLURM_NTASKS");
    return several({tasks ? "srun" : "PMIx", tasks.value_or(0)});
  }
  if (const auto ranks = ranks_in(environment, "PMI_SIZE")) {
    return several({tasks ? "srun" : "mpiexec", *ranks});
  }
  if (tasks.value_or(1) > 1) {
    fail("srun started {} tasks that cannot find each other: use srun --mpi=pmix, or mpirun",
         *tasks);
  }
  return std::nullopt;
}

std::unique_ptr<Communicator> start_world(
    Environment environment, std::function<int(int rank, std::string_view message)> on_abort) {
  const auto launcher = find_launcher(environment);
  if (!launcher) return std::make_unique<SelfCommunicator>();
  auto world = start_mpi({std::move(on_abort), INT_MAX});
  const int found = world->size();
  if (launcher->ranks != 0 && found != launcher->ranks) {
    world.reset();
    fail(
        "{} started {} ranks, but MPI finds {}: start them with Open MPI's mpirun, or with "
        "srun --mpi=pmix",
        launcher->name, launcher->ranks, found);
  }
  return world;
}

}  // namespace tessera::parallel
