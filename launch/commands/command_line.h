// The table of subcommands: what each is called, what it takes, which function it runs.
#pragma once

namespace tessera::launch {

/// Parses the command line and runs the command. What is wrong goes to stderr, one line each (one
/// for each fault of a config). Returns the exit code: 0 finished, 1 failed, 2 wrong use or config,
/// 3 stopped and resumable.
int run_command_line(int argc, char** argv);

}  // namespace tessera::launch
