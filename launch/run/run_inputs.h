// What a run reads before it decides anything: the base checkpoint's header, the data sets, and the
// steps that they make. Base and data are opened once, and nothing of it changes afterwards.
#pragma once

#include "launch/run/run_data.h"
#include "lora/model/checkpoint.h"

namespace tessera::launch {

struct RunInputs {
  /// Before the model is loaded: a bad row, adapter or checkpoint must not cost the minutes of a
  /// large load. Errors come on all ranks. Collective.
  RunInputs(const Config& config, parallel::Communicator& world, Console& console);
  RunInputs(const RunInputs&) = delete;  // `steps` refers to `data`
  RunInputs& operator=(const RunInputs&) = delete;

  const lora::Checkpoint checkpoint;
  const RunData data;
  const StepPlan steps;
};

}  // namespace tessera::launch
