// Ranks are found from the environment, and one process alone never starts MPI.
#include "parallel/launcher.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "tests/expect_error.h"

namespace tessera::parallel {
namespace {

using Variables = std::map<std::string, std::string>;

std::optional<Launcher> launcher_of(const Variables& variables) {
  return find_launcher([&](const char* name) {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

void expect_launcher(const Variables& variables, const std::string& name, int ranks) {
  const auto launcher = launcher_of(variables);
  ASSERT_TRUE(launcher);
  EXPECT_EQ(launcher->name, name);
  EXPECT_EQ(launcher->ranks, ranks);
}

TEST(Launcher, IsFoundInTheEnvironment) {
  expect_launcher({{"OMPI_COMM_WORLD_SIZE", "4"}, {"PMIX_RANK", "0"}}, "mpirun", 4);
  // mpirun inside a Slurm job whose own step has one task per node.
  expect_launcher({{"OMPI_COMM_WORLD_SIZE", "8"}, {"SLURM_STEP_NUM_TASKS", "2"}}, "mpirun", 8);
  expect_launcher({{"PMIX_RANK", "3"}, {"SLURM_STEP_NUM_TASKS", "16"}, {"SLURM_NTASKS", "32"}},
                  "srun", 16);
  expect_launcher({{"PMIX_RANK", "3"}, {"SLURM_NTASKS", "32"}}, "srun", 32);
  expect_launcher({{"PMIX_RANK", "1"}}, "PMIx", 0);
  expect_launcher({{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}}, "mpiexec", 2);
}

TEST(Launcher, IsNoneForOneRank) {
  EXPECT_FALSE(launcher_of({}));
  EXPECT_FALSE(launcher_of({{"OMPI_COMM_WORLD_SIZE", "1"}}));
  // A shell that srun gave, and a batch script: the program is the only task.
  EXPECT_FALSE(launcher_of({{"PMIX_RANK", "0"}, {"SLURM_STEP_NUM_TASKS", "1"}}));
  EXPECT_FALSE(launcher_of({{"SLURM_NTASKS", "4"}, {"SLURM_PROCID", "0"}}));
  const auto alone = start_world([](const char*) { return nullptr; }, {});
  EXPECT_EQ(alone->size(), 1);
}

TEST(Launcher, RefusesTasksThatCannotFindEachOther) {
  testing::expect_error(
      [] {
        launcher_of({{"SLURM_STEP_NUM_TASKS", "4"}});
      },
      "4 tasks", "srun --mpi=pmix");
  for (const char* size : {"", "0", "-2", "four", "4 ", "99999999999"}) {
    testing::expect_error(
        [&] {
          launcher_of({{"OMPI_COMM_WORLD_SIZE", size}});
        },
        std::string("OMPI_COMM_WORLD_SIZE=") + size);
  }
}

}  // namespace
}  // namespace tessera::parallel
