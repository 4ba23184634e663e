// Another program, run to its end or to the end of its time.
#pragma once

#include <string>
#include <vector>

namespace tessera::launch {

struct ProgramResult {
  bool started = false;    // it was found in PATH
  bool timed_out = false;  // and was ended
  int code = -1;           // its exit code; 128 + a signal's number
  std::string output;      // stdout and stderr together, the first 64 KiB
};

/// Runs arguments[0], found in PATH, with those after it and without input. `extra` are
/// "NAME=value" that its environment gets. It ends with this process, whatever ends that.
ProgramResult run_program_for(const std::vector<std::string>& arguments,
                              const std::vector<std::string>& extra, double seconds);

}  // namespace tessera::launch
