// What a command is to the command line: one row of the table in command_line.cpp. To add one,
// write launch/commands/NAME.cpp with its declare function and give it a row.
#pragma once

namespace CLI {
class App;
}

namespace tessera::launch {

struct Command {
  const char* name;
  const char* summary;
  /// Gives the subcommand its arguments, its help and the callback that runs it. The callback may
  /// set the exit code, which is 0 without it, and throws Error.
  void (*declare)(CLI::App* command, int& exit_code);
};

}  // namespace tessera::launch
