// The command line of tessera: one subcommand each, errors as one line on stderr, exit codes 0
// finished, 1 failed, 2 wrong use or config, 3 stopped and resumable.
#include <fmt/format.h>

#include <cstdio>
#include <new>

#include "launch/commands.h"
#include "runtime/core/error.h"

int main(int argc, char** argv) {
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
