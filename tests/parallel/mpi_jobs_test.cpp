// Jobs under mpirun that go wrong: each must end, soon, with one line that says whose fault it was.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "runtime/core/has_cuda.h"
#include "tests/launch/program.h"
#if TESSERA_HAS_CUDA
#include "tests/cuda/device_spans.h"
#endif

namespace tessera::parallel {
namespace {

/// Whether ranks only talk, or each drives a device. The host's calls are what a rank is missed in
/// there.
enum class Ranks { kHost, kDevices };

class MpiJobs : public ::testing::TestWithParam<Ranks> {
 protected:
  /// What becomes of three ranks whose last one goes wrong; `timeout` ends a job that hangs with
  /// 124.
  testing::Outcome job(const std::string& how) {
    std::vector<std::string> command{
        "60", TESSERA_MPIRUN,      "--oversubscribe", "--bind-to", "none", "-np",
        "3",  TESSERA_RANK_PROGRAM};
    if (GetParam() == Ranks::kDevices) command.push_back("nccl");
    command.push_back(how);
    return testing::run_program(command);
  }
  std::string missed_in() const {
    return GetParam() == Ranks::kDevices ? "did not come to an all_gather that rank "
                                         : "did not come to an all_reduce that rank ";
  }

  static void SetUpTestSuite() {
    setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
    setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
    setenv("ASAN_OPTIONS", "detect_leaks=0", 1);  // Open MPI leaks
  }
  void SetUp() override {
    if (access(TESSERA_MPIRUN, X_OK) != 0) GTEST_SKIP() << "mpirun is not installed";
#if TESSERA_HAS_CUDA
    if (GetParam() == Ranks::kDevices && testing::device_count() < 3) {
      GTEST_SKIP() << "needs 3 devices, has " << testing::device_count();
    }
#endif
  }
};

TEST_P(MpiJobs, EndWithTheMessageOfTheRankThatThrows) {
  const auto outcome = job("throws");
  EXPECT_EQ(outcome.code, 1) << outcome.err;
  EXPECT_NE(outcome.err.find("tessera: rank 2: layer 3: not finite\n"), std::string::npos)
      << outcome.err;
}

TEST_P(MpiJobs, EndWhenARankIsStopped) {
  const auto outcome = job("stops");
  EXPECT_EQ(outcome.code, 1) << outcome.err;
  EXPECT_NE(outcome.err.find("rank 2 (step 4, forward; shows no sign of life) " + missed_in()),
            std::string::npos)
      << outcome.err;
  EXPECT_NE(outcome.err.find(" (step 3, backward) has waited in for 2 s\n"), std::string::npos)
      << outcome.err;
}

TEST_P(MpiJobs, EndWhenARankStaysAway) {
  const auto outcome = job("stays_away");
  EXPECT_EQ(outcome.code, 1) << outcome.err;
  EXPECT_NE(outcome.err.find("rank 2 (step 4, forward) " + missed_in()), std::string::npos)
      << outcome.err;
}

TEST_P(MpiJobs, EndWhereMpiFindsOtherRanks) {
  if (GetParam() != Ranks::kHost) return;
  // A launcher that is not Open MPI's: to MPI this process is alone.
  const auto outcome =
      testing::run_program({"60", "/usr/bin/env", "PMI_SIZE=2", TESSERA_RANK_PROGRAM, "throws"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_NE(outcome.err.find("mpiexec started 2 ranks, but MPI finds 1"), std::string::npos)
      << outcome.err;
}

TEST_P(MpiJobs, EndWhenARankLeaves) {
  const auto outcome = job("leaves");
  EXPECT_NE(outcome.code, 0);
  EXPECT_NE(outcome.code, 124);
}

std::vector<Ranks> kinds() {
  if (kHasCuda) return {Ranks::kHost, Ranks::kDevices};
  return {Ranks::kHost};
}
INSTANTIATE_TEST_SUITE_P(Of, MpiJobs, ::testing::ValuesIn(kinds()), [](const auto& info) {
  return info.param == Ranks::kHost ? "Hosts" : "Devices";
});

}  // namespace
}  // namespace tessera::parallel
