// The command line of tessera: one subcommand each, errors as one line on stderr (one for each
// fault of a config), exit codes 0 finished, 1 failed, 2 wrong use or config, 3 stopped and
// resumable.
#include <unistd.h>

#include <cstdlib>
#include <new>

#include "launch/commands/command_line.h"
#include "launch/console/progress.h"
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
    tessera::launch::print_error(error.what());
    return int(error.fault());
  } catch (const std::bad_alloc&) {
    tessera::launch::print_error("out of memory");
    return 1;
  } catch (const std::exception& error) {
    tessera::launch::print_error(error.what());
    return 1;
  }
}
