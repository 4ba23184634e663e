// What a run computes with, over a base in memory: what is trained, the optimizer and the sums of
// gradients, all of it allocated as planned.
#pragma once

#include "launch/run/checkpoint.h"
#include "launch/run/loaded_model.h"
#include "launch/run/run_inputs.h"
#include "launch/run/run_plan.h"
#include "launch/run/training_step.h"
#include "optim/optimizer.h"

namespace tessera::launch {

struct RunMachine {
  /// Makes the adapter or copies the one to start from. All arguments outlive it. Collective.
  RunMachine(Context& ctx, LoadedModel& model, const RunInputs& inputs, const RunPlan& plan,
             parallel::Communicator& world);

  RunMachine(const RunMachine&) = delete;  // its members refer to each other
  RunMachine& operator=(const RunMachine&) = delete;

  /// Takes the memory of activations.
  void allocate(const RunPlan& plan);

  /// What a checkpoint holds of it.
  TrainedState trained(const Config& config) {
    return {adapters, {optimizer, segments}, config.base_model};
  }

  Context& ctx;
  LoadedModel& model;
  lora::AdapterSet adapters;
  lora::Decoder decoder;
  const std::vector<optim::StateSegment> segments;
  optim::Optimizer optimizer;
  const lora::Loss loss;
  TrainingStep step;
};

}  // namespace tessera::launch
