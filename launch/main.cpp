// The command line of tessera: one subcommand each, errors as one line on stderr, exit codes 0
// finished, 1 failed, 2 wrong use or config, 3 stopped and resumable.
#include <fmt/format.h>

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <new>

#include "launch/commands.h"
#include "runtime/core/error.h"

namespace {

/// Idle threads must sleep, not spin: with one foreign process on the machine spinning costs up to
/// nine tenths of the speed. OpenMP reads its policy when the program is loaded, so the program
/// starts itself once more. Whoever sets the variable keeps his choice.
void wait_passively(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY")) return;
  setenv("OMP_WAIT_POLICY", "passive", 1);
  execv("/proc/self/exe", argv);  // on failure: go on, only slower
}

}  // namespace

int main(int argc, char** argv) {
  wait_passively(argv);
  try {
    return tessera::launch::run_command_line(argc, argv);
  } catch (const tessera::Error& error) {
    fmt::print(stderr, "tessera: {}\n", error.what());
    return int(error.fault());
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "tessera: out of memory\n");
    return 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "tessera: {}\n", error.what());
    return 1;
  }
}
