// What a run reads before it decides anything: the base checkpoint's header, the config of the
// adapter to start from, the data sets, and the steps that they make. Each file is opened once, and
// nothing of it changes afterwards.
#pragma once

#include "launch/run/run_data.h"
#include "launch/run/training_samples.h"
#include "lora/adapter/peft.h"
#include "lora/model/checkpoint.h"

namespace tessera::launch {

struct RunInputs {
  /// Before the model is loaded: a bad row or checkpoint must not cost the minutes of a large load.
  /// Errors come on all ranks. Collective.
  RunInputs(const Config& config, std::optional<lora::PeftFolder> start,
            parallel::Communicator& world, Console& console);
  RunInputs(const RunInputs&) = delete;  // `steps` refers to `data`
  RunInputs& operator=(const RunInputs&) = delete;

  const lora::Checkpoint checkpoint;
  const std::optional<lora::PeftFolder> start;  // the adapter to start from
  const RunData data;
  const RunSteps steps;
  const TrainingSamples samples;
};

}  // namespace tessera::launch
