// The memory plan of a run: made when its data are known, before its model is loaded.
#pragma once

#include "launch/plan/planner.h"
#include "launch/run/run_inputs.h"
#include "parallel/communicator.h"

namespace tessera::launch {

struct RunPlan {
  Config config;  // with what the plan has chosen
  PlanInput input;
  Plan chosen;
};

/// What is free where the ranks compute, by the least that one of them finds: a GPU's memory or
/// what a process may still have, and what its node may. The same on every rank: collective.
MemoryLimit free_memory(parallel::Communicator& world, Device device);

/// The plan of `input`, within memory_budget and within what the nodes have free. The same on every
/// rank: collective. SharedError (usage) where nothing fits, saying what would.
Plan plan_on(const Config& config, const PlanInput& input, parallel::Communicator& world,
             const Context& ctx);

/// The plan for the largest micro-batch of the steps and of the validation. As plan_on().
RunPlan plan_run(const Config& config, const RunInputs& inputs, parallel::Communicator& world,
                 const Context& ctx);

}  // namespace tessera::launch
