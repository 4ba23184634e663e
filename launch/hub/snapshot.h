// A snapshot of a repository: from the cache, from the hub, or from the cache because the hub
// cannot be asked.
#pragma once

#include <string>
#include <vector>

#include "launch/hub/hub.h"

namespace tessera::launch {

/// As hub_snapshot(), where the choice depends on all names. `choose` gets the names of all files,
/// and gives those that are needed or throws Error.
using ChooseFiles = FunctionRef<std::vector<std::string>(const std::vector<std::string>& names)>;
std::string hub_snapshot_of(const HubName& name, ChooseFiles choose, Console& console);

}  // namespace tessera::launch
