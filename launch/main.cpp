// The command line of tessera: one subcommand each (launch/commands/command_line.h).
#include "launch/commands/command_line.h"

#include <unistd.h>

#include <cstdlib>

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
  return tessera::launch::run_command_line(argc, argv);
}
