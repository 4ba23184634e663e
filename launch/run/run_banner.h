// What a run says of itself before its first step, on the console and in run.json.
#pragma once

#include <vector>

#include "launch/console/progress.h"
#include "launch/report/run_record.h"
#include "launch/run/run_inputs.h"
#include "launch/run/run_plan.h"
#include "runtime/core/context.h"

namespace tessera::launch {

/// Model, base, adapter, data, steps and ranks, each a name and a line of text. A line without a
/// name goes on with the one before it.
std::vector<RunRecord::Fact> run_facts(const RunPlan& plan, const RunInputs& inputs,
                                       const Context& ctx);

/// The facts, and the table of the memory plan.
void print_banner(Console& console, const std::vector<RunRecord::Fact>& facts, const RunPlan& plan);

/// All but when it started and ended.
RunRecord run_record(std::vector<RunRecord::Fact> facts, const RunPlan& plan,
                     const RunInputs& inputs);

}  // namespace tessera::launch
