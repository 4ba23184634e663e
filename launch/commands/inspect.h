// `tessera inspect`: what a model, an adapter or a file of tensors is, and whether `train` takes
// it.
#pragma once

#include <string>

namespace tessera::launch {

struct InspectOptions {
  std::string path;
  bool json = false;
  bool tensors = false;  // list them all
};

/// A few aligned lines, or one JSON object (docs/inspect.md has its keys). Error where there is
/// nothing to inspect; a model that cannot be trained is none.
std::string inspect(const InspectOptions& options);

}  // namespace tessera::launch
