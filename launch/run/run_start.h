// What a run opens before it plans: the process made ready, the device, the folder it writes to,
// and all that it reads.
#pragma once

#include <nlohmann/json.hpp>

#include "launch/console/progress.h"
#include "launch/run/loaded_model.h"
#include "launch/run/run_folder.h"
#include "launch/run/run_inputs.h"
#include "launch/run/run_plan.h"
#include "runtime/core/context.h"

namespace tessera::launch {

struct RunStart {
  /// Checks before anything expensive that the ranks run the same, and that all can be opened and
  /// written. Both arguments outlive it. Collective; Error on all ranks.
  RunStart(const Config& config, parallel::Communicator& world);

  parallel::Communicator& world;
  Console console;

 private:
  std::optional<lora::PeftFolder> opened_;  // until the inputs have it
  const Device device_;

 public:
  RunFolder folder;
  Context ctx;
  const RunInputs inputs;
};

/// The base in memory, as `plan` has it. `start` outlives it. Collective.
LoadedModel load_base(RunStart& start, const RunPlan& plan);

/// run_identity() of a run over `model`.
nlohmann::json identity_of(const RunStart& start, const RunPlan& plan, const LoadedModel& model);

}  // namespace tessera::launch
