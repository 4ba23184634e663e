#include "launch/machine/rank_test.h"

#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <vector>

#include "launch/console/progress.h"
#include "launch/machine/ranks.h"
#include "launch/machine/timed_program.h"
#include "parallel/launcher.h"
#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

using Grade = Finding::Grade;

constexpr const char* kGetMpi = "apt-get install openmpi-bin";
constexpr size_t kMessage = size_t{4} << 20;  // too long for what a network buffers

/// The line of mpirun's output that says most: one of this program, else the first with words.
std::string telling_line(const std::string& output) {
  std::istringstream lines(output);
  std::string first;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("tessera: ")) return io::printable(line.substr(9), 300);
    if (first.empty() && line.find_first_not_of("- \t*=") != std::string::npos) first = line;
  }
  return io::printable(first, 300);
}

}  // namespace

Finding test_two_ranks(double seconds) {
  const auto variable = [](const char* name) -> const char* { return std::getenv(name); };
  if (const auto launcher = parallel::find_launcher(variable)) {
    return {"two ranks", fmt::format("not tried: this process is a rank of {}", launcher->name)};
  }
  std::error_code error;
  const std::string program = std::filesystem::read_symlink("/proc/self/exe", error).string();
  const Stopwatch watch;
  const ProgramResult result = run_program_for(
      {"mpirun", "-n", "2", "--oversubscribe", "--bind-to", "none", program, "doctor", kRankOfTest},
      {"OMPI_ALLOW_RUN_AS_ROOT=1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"}, seconds);
  if (!result.started) {
    return {"two ranks", "not tried: there is no mpirun in PATH", Grade::kLacking, kGetMpi};
  }
  if (result.timed_out) {
    return {
        "two ranks",
        fmt::format("mpirun did not end within {:.0f} s: {}", seconds, telling_line(result.output)),
        Grade::kLacking, "try with one network: mpirun --mca btl self,vader -n 2 ..."};
  }
  if (result.code != 0) {
    return {"two ranks",
            fmt::format("failed with exit code {}: {}", result.code, telling_line(result.output)),
            Grade::kLacking, "tessera needs Open MPI 4 or 5, whose mpirun is first in PATH"};
  }
  return {"two ranks", fmt::format("exchanged {} in {:.1f} s, start and end of mpirun included",
                                   format_bytes(int64_t(kMessage)), watch.seconds())};
}

int run_rank_of_test() {
  return run_on_ranks([](parallel::Communicator& world) {
    if (world.size() != 2) {
      fail("expected to be one of 2 ranks, but found {}: mpirun is not that of an Open MPI",
           world.size());
    }
    std::vector<uint8_t> mine(kMessage, uint8_t(world.rank() + 1));
    const std::vector<uint8_t> all = parallel::gather_values(world, std::span<const uint8_t>(mine));
    for (size_t i = 0; i < all.size(); ++i) {
      if (all[i] == i / kMessage + 1) continue;
      fail("byte {} of the message from rank {} came as {}", i % kMessage, i / kMessage, all[i]);
    }
    world.barrier();
    return 0;
  });
}

}  // namespace tessera::launch
