// What a run measures of its model between steps: the loss on the evaluation sets, and answers to
// sample_prompts. All of it is collective.
#pragma once

#include "launch/run/evaluation_record.h"
#include "launch/run/run_inputs.h"
#include "launch/run/run_log.h"
#include "launch/run/run_machine.h"
#include "launch/run/run_plan.h"

namespace tessera::launch {

class RunEvaluations {
 public:
  /// All arguments outlive it.
  RunEvaluations(const RunInputs& inputs, const RunPlan& plan, RunMachine& machine, RunLog& log,
                 parallel::Communicator& world, Console& console)
      : inputs_(inputs),
        plan_(plan),
        machine_(machine),
        log_(log),
        world_(world),
        console_(console) {}

  /// Evaluates on every set, but where an earlier start has done so, and tells. The loss that
  /// metric_for_best_model names goes into the record, unless no step is done yet. Returns whether
  /// it is the best so far.
  bool evaluate(int64_t step, EvaluationRecord& record);
  /// Answers sample_prompts, unless an earlier start has, and tells.
  void sample(int64_t step);

 private:
  const RunInputs& inputs_;
  const RunPlan& plan_;
  RunMachine& machine_;
  RunLog& log_;
  parallel::Communicator& world_;
  Console& console_;
};

}  // namespace tessera::launch
