// Chooses what the config leaves open - policies of the layers, sharding, resident pages of the
// optimizer - so that a run fits into its memory and is as fast as it can be: an exhaustive search
// over a few integers, by the models of plan.h and step_time.h. A pure function of its arguments,
// so that all ranks choose the same.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launch/config/config.h"
#include "launch/plan/memory_model.h"
#include "launch/plan/step_time.h"

namespace tessera::launch {

/// Of what a GPU has or the system can spare; the rest is for what cannot be planned.
inline constexpr double kUsableShare = 0.95;

/// Nothing: no limit.
struct MemoryLimit {
  struct Bound {
    size_t bytes;
    std::string name;  // what an error calls it, before "is": "memory_budget"
  };
  std::optional<Bound> rank;  // what each rank may use: on a GPU its memory, on the CPU all of it
  std::optional<Bound> node;  // what the ranks of a node may use of its memory together
};

struct Plan {
  parallel::Sharding sharding;
  std::vector<parallel::LayerGroup> groups;
  /// The same as config keys: layers recomputed together, and the last ones that are kept.
  parallel::Policy checkpointing = parallel::Policy::kKeep;
  int64_t group_layers = 1;
  int64_t kept_layers = 0;
  std::optional<size_t> page_budget;  // of the optimizer's state; nothing: all stays
  int ranks = 1;

  RankMemory memory;  // of the rank that holds most
  int fullest = 0;    // that rank
  size_t node = 0;    // held by the ranks of its node together
  size_t host = 0;    // of that, in the node's own memory: all of it on the CPU
  StepTime time;

  /// The config with all that was left open as chosen here.
  Config applied(const Config& config) const;
  /// "kept", "recomputed", "the first 20 recomputed, the last 12 kept", ...
  std::string describe_policies() const;
};

/// The fastest plan that fits; of equally fast ones, that which moves less, then the smallest.
/// Error (usage) where none fits, saying what one needs and what would fit.
Plan choose_plan(const Config& config, const PlanInput& input, const DeviceProfile& device,
                 const MemoryLimit& limit);

/// What a plan starts from, for a model and ranks; `tokens` and `sequence` are of the largest
/// micro-batch.
PlanInput plan_input(const Config& config, const lora::ModelSpec& model,
                     const lora::BaseFormat& stored, std::vector<int> nodes, bool gpu);

}  // namespace tessera::launch
