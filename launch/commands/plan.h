// `tessera plan`: what a run takes in memory and time.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace tessera::launch {

struct PlanOptions {
  std::string config;
  std::vector<std::string> overrides;
  int ranks = 1;
  std::optional<int> ranks_per_node;   // all of a CPU's on one node, 8 of a GPU's
  std::optional<std::string> profile;  // a GPU's name, or a file
  bool json = false;
};

/// What the run of a config takes in memory and time, as text or JSON. Opens the model's
/// config.json (or the header of its GGUF file) and nothing else.
std::string plan(const PlanOptions& options);

}  // namespace tessera::launch
