// The numbers of a run's optimizer, schedule and adapters, out of its config.
#pragma once

#include "launch/config.h"
#include "lora/adapter.h"
#include "optim/adamw.h"
#include "optim/schedule.h"
#include "parallel/layer_scheduler.h"

namespace tessera::launch {

lora::AdapterOptions adapter_options(const Config& config);

optim::LrSchedule make_schedule(const Config& config, int64_t total_steps);

bool is_8bit(OptimizerKind kind);
/// What of the optimizer's state stays resident, and where the rest lives.
optim::PageOptions page_options(const Config& config, Device device);

/// Groups of `size` layers under `policy`, and the last `kept` layers kept.
std::vector<parallel::LayerGroup> layer_groups(parallel::Policy policy, int64_t size, int64_t kept,
                                               int64_t layers);

}  // namespace tessera::launch
