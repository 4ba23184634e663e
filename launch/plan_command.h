// `tessera plan`, and the plan as a run shows it before it loads anything.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launch/planner.h"

namespace tessera::launch {

/// "full", "host": the value of the config's key `sharding`.
std::string describe_sharding(const parallel::Sharding& sharding);

/// The table: what the rank that holds most takes, by category, in lines of at most 100 columns.
std::vector<std::string> plan_table(const Plan& plan, const PlanInput& input);

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
