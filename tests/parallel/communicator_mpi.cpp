// One rank of a job that mpirun started: the suite of communicators or, with an argument, a job
// that goes wrong; with `nccl`, where each rank drives a device of its own.
// Usage: communicator_mpi [nccl] [count=N | throws | stops | stays_away | leaves]
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <climits>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include "parallel/launcher.h"
#include "parallel/load_mpi.h"
#include "tests/parallel/communicator_suite.h"
#if TESSERA_HAS_CUDA
#include "tests/cuda/device_spans.h"
#endif

namespace tessera::parallel {
namespace {

std::unique_ptr<Communicator> world;
bool on_devices = false;

/// Calls the body with the world or, on devices, with NCCL over its ranks.
void with_group(const Body& body) {
#if TESSERA_HAS_CUDA
  if (on_devices) {
    Stream stream(Device::cuda(world->rank()));
    return body(*testing::nccl_for_host_spans(*world, stream));
  }
#endif
  body(*world);
}

std::vector<Kind> kinds() {
  return {{"Mpi", world->size(), world->size(), [](const Body& body) {
             world->set_watchdog(std::chrono::seconds(20));
             with_group(body);
           }}};
}
INSTANTIATE_TEST_SUITE_P(All, Communicators, ::testing::ValuesIn(kinds()),
                         [](const auto& info) { return info.param.name; });

/// Ranks print into one terminal: a line for each failure, and one at the end.
class Printer final : public ::testing::EmptyTestEventListener {
  void OnTestStart(const ::testing::TestInfo& test) override { test_ = test.name(); }
  void OnTestPartResult(const ::testing::TestPartResult& result) override {
    if (!result.failed()) return;
    fmt::print(stderr, "rank {}: {}: {}:{}: {}\n", world->rank(), test_,
               result.file_name() ? result.file_name() : "", result.line_number(),
               result.message());
  }
  void OnTestProgramEnd(const ::testing::UnitTest& all) override {
    fmt::print("rank {} of {}: {} tests passed, {} failed\n", world->rank(), world->size(),
               all.successful_test_count(), all.failed_test_count());
  }
  std::string test_;  // gtest holds its lock while it reports, so it cannot be asked then
};

int run_suite(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  auto& listeners = ::testing::UnitTest::GetInstance()->listeners();
  delete listeners.Release(listeners.default_result_printer());
  listeners.Append(std::make_unique<Printer>().release());
  const int failed = RUN_ALL_TESTS();
  world.reset();
  return failed;
}

constexpr int kSkipped = 77;

bool enough_devices() {
#if TESSERA_HAS_CUDA
  if (on_devices && testing::device_count() < world->size()) {
    if (world->rank() == 0) {
      fmt::print("skipped: needs {} devices, has {}\n", world->size(), testing::device_count());
    }
    return false;
  }
#endif
  return true;
}

/// The last rank fails in the way that is asked for, while the others wait for it.
void go_wrong(Communicator& group, const std::string& how) {
  const auto part = group.split(0);
  group.set_watchdog(std::chrono::seconds(2));
  group.set_phase("step 3, backward");
  std::vector<float> values(1000);
  group.all_reduce(values);
  if (group.rank() == group.size() - 1) {
    group.set_phase("step 4, forward");
    if (how == "throws") fail("layer {}: not finite", 3);
    if (how == "stops") ::raise(SIGSTOP);
    if (how == "stays_away") {
      for (;;) ::pause();
    }
    if (how == "leaves") std::_Exit(0);
  }
  part->all_reduce(values);
}

}  // namespace
}  // namespace tessera::parallel

int main(int argc, char** argv) {
  using namespace tessera::parallel;
  std::string argument = argc > 1 ? argv[1] : "";
  if (argument == "nccl") {
    on_devices = true;
    argument = argc > 2 ? argv[2] : "";
  }
  const auto say = [](int rank, std::string_view message) {
    fmt::print(stderr, "tessera: rank {}: {}\n", rank, message);
    return 1;
  };
  if (argument.empty() || argument.starts_with("count=")) {
    const size_t count = argument.empty() ? INT_MAX : std::stoul(argument.substr(6));
    world = start_mpi({say, count});
    if (!enough_devices()) {
      world.reset();
      return kSkipped;
    }
    return run_suite(argc, argv);
  }
  try {
    world = start_world([](const char* name) { return std::getenv(name); }, say);
    with_group([&](Communicator& group) { go_wrong(group, argument); });
    world.reset();
  } catch (const std::exception& error) {
    if (world) world->abort(error.what());
    fmt::print(stderr, "tessera: {}\n", error.what());
    return 1;
  }
}
