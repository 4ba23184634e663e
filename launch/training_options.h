// The numbers of a run's optimizer, schedule and adapters, out of its config.
#pragma once

#include "launch/config.h"
#include "lora/adapter.h"
#include "optim/schedule.h"
#include "parallel/layer_scheduler.h"

namespace tessera::launch {

lora::AdapterOptions adapter_options(const Config& config);

optim::LrSchedule make_schedule(const Config& config, int64_t total_steps);

/// The groups of layers and their policy that gradient_checkpointing asks for; `otherwise` where it
/// leaves the choice to the program.
std::vector<parallel::LayerGroup> layer_groups(const Config& config, int64_t layers,
                                               parallel::Policy otherwise);

}  // namespace tessera::launch
