// `tessera hello`: greets.
#include "launch/commands/arguments.h"

namespace tessera::launch {

void declare_hello(CLI::App* command, int&) {
  auto name = std::make_shared<std::string>("you");
  command->add_option("name", *name, "Whom to greet");
  command->callback([name] { write_stdout(fmt::format("Hello, {}.\n", *name)); });
}

}  // namespace tessera::launch
