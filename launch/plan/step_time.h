// How long a step takes and what bounds it, from a device profile. Three things go on at once:
// products, gathers of the next layer, and copies of offloaded inputs; a layer takes as long as the
// slowest of them. The formulas are in docs/planning.md.
#pragma once

#include <string_view>

#include "launch/plan/device_profile.h"
#include "launch/plan/memory_model.h"
#include "runtime/core/timeline.h"

namespace tessera::launch {

/// Seconds of one step on the rank that has the most micro-batches.
struct StepTime {
  ComputeParts parts{};  // of compute
  double compute = 0;    // each of these three if it were alone
  double gather = 0;
  double host_copy = 0;
  double exchange = 0;  // of gradients, after the last micro-batch
  double optimizer = 0;
  double seconds = 0;            // all together
  double tokens_per_second = 0;  // over all ranks
  double between_nodes = 0;      // bytes that come to the first node from others

  /// "compute", "gather" or "host copy": what the layers wait for longest.
  std::string_view bound() const;
};

/// What a step's time depends on, beside the model and the ranks.
struct StepChoice {
  parallel::Sharding sharding;
  std::span<const parallel::LayerGroup> groups;
  DType compute;
  size_t optimizer_pages;  // bytes that come and go
};

StepTime step_time(const MemoryModel& model, const DeviceProfile& device, const StepChoice& choice);

}  // namespace tessera::launch
