// The table of subcommands: what each is called, what it takes, which function it runs.
#pragma once

namespace tessera::launch {

inline constexpr const char* kVersion = "0.1.0";

/// Parses the command line and runs the command. Returns the exit code; throws Error.
int run_command_line(int argc, char** argv);

}  // namespace tessera::launch
