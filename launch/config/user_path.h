// Paths as users write them, in a config or on the command line. A shell replaces a leading ~ on
// its own command line only, so this does it for all others; without, a folder named ~ would be
// made. Variables and URLs, which nothing here replaces, are refused for the same reason.
#pragma once

#include <string>
#include <string_view>

namespace tessera::launch {

struct UserPath {
  std::string path;
  std::string fault;  // why `path` is not to be used, for a message; empty where it is
};

/// `~` and `~/x` are in the user's home folder ($HOME, else as the system has it), `~name/x` in
/// that of the user `name`. All other paths stay as they are.
UserPath read_user_path(std::string_view written);

}  // namespace tessera::launch
