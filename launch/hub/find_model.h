// Models by the names that users give: a path, or a repository of the hub.
#pragma once

#include <string>

#include "launch/console/progress.h"

namespace tessera::launch {

/// Where the model is: `name` itself where it is a path; else the folder, or GGUF file, in the
/// hub's cache, with all that a model needs, which is fetched first if need be. Errors as
/// hub_snapshot().
std::string find_model(const std::string& name, Console& console);

/// The same where no weights are needed: of a repository its config and its tokenizer are fetched.
std::string find_model_without_weights(const std::string& name, Console& console);

}  // namespace tessera::launch
