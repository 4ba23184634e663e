// A plan as people read it: in the banner of a run and from `tessera plan`.
#pragma once

#include <string>
#include <vector>

#include "launch/plan/planner.h"

namespace tessera::launch {

/// The table: what the rank that holds most takes, by category, in lines of at most 100 columns.
std::vector<std::string> plan_table(const Plan& plan, const PlanInput& input);

}  // namespace tessera::launch
