#include "launch/run/run_plan.h"

#include <algorithm>
#include <limits>

#include "launch/config/options.h"
#include "launch/machine/agreement.h"
#include "launch/machine/device.h"
#include "launch/machine/system_limits.h"
#include "lora/model/loader.h"
#include "runtime/core/has_cuda.h"

namespace tessera::launch {
namespace {

int64_t longest_sample(const RunData& data) {
  int64_t longest = std::max<int64_t>(data.training.longest(), 1);
  for (const auto& set : data.evaluation) longest = std::max(longest, set.samples.longest());
  return longest;
}

int64_t largest_batch(const RunData& data, const RunSteps& steps) {
  int64_t tokens = steps.max_tokens();
  for (const auto& set : data.evaluation) {
    tokens = std::max(tokens, EvaluationBatches(set.samples, data.options).max_tokens());
  }
  return tokens;
}

/// The least that a rank has, as all of them know it; nothing where none has a limit.
std::optional<MemoryLimit::Bound> least_of(parallel::Communicator& world,
                                           const std::optional<FreeMemory>& mine,
                                           std::string_view unlimited) {
  const std::vector<int64_t> bytes =
      parallel::gather_values(world, mine ? mine->bytes : std::numeric_limits<int64_t>::max());
  const auto least = std::ranges::min_element(bytes);
  const std::string name =
      !mine || mine->limit.empty()
          ? std::string(unlimited)
          : fmt::format("what {} ({}) leaves", mine->limit, format_bytes(mine->limit_bytes));
  const std::string names = gather_texts(world, name)[size_t(least - bytes.begin())];
  if (*least == std::numeric_limits<int64_t>::max()) return std::nullopt;
  return MemoryLimit::Bound{size_t(double(*least) * kUsableShare), names};
}

/// The GPU's profile by its name; for one that is not known, that of a middling one.
DeviceProfile profile_of(const std::string& name) {
  for (std::string_view known : gpu_names()) {
    if (name.find(known) != std::string::npos) return find_profile(std::string(known));
  }
  return find_profile("A100-80GB");
}

}  // namespace

MemoryLimit free_memory(parallel::Communicator& world, Device device) {
  if (device.is_cuda()) {
    const FreeMemory free{free_bytes(device), "", 0};
    return {.rank = least_of(world, free, "what the GPU has"),
            .node = least_of(world, node_memory("/"), "what the host has free")};
  }
  return {.rank = least_of(world, process_memory("/"), ""),
          .node = least_of(world, node_memory("/"), "what is free")};
}

RunPlan plan_run(const Config& asked, const RunInputs& inputs, parallel::Communicator& world,
                 const Context& ctx) {
  const lora::Checkpoint& checkpoint = inputs.checkpoint;
  const lora::BaseFormat stored = lora::checkpoint_format(checkpoint);
  const Config config = with_stored_format(asked, stored);
  PlanInput input =
      plan_input(config, checkpoint.spec(), stored, parallel::gather_values(world, world.node()),
                 ctx.device().is_cuda());
  // Where ranks have read different data they will be told so; until then they must agree.
  const auto most = [&](int64_t mine) {
    return std::ranges::max(parallel::gather_values(world, mine));
  };
  input.tokens = most(largest_batch(inputs.data, inputs.steps));
  input.sequence = most(longest_sample(inputs.data));
  Plan plan = plan_on(config, input, world, ctx);
  return {plan.applied(config), std::move(input), std::move(plan)};
}

Plan plan_on(const Config& config, const PlanInput& input, parallel::Communicator& world,
             const Context& ctx) {
  const bool gpu = input.gpu.has_value();
  MemoryLimit limit = free_memory(world, ctx.device());
  if (config.memory_budget &&
      (gpu || !limit.rank || size_t(*config.memory_budget) < limit.rank->bytes)) {
    limit.rank = {size_t(*config.memory_budget), "memory_budget"};
  }
  const DeviceProfile profile = gpu ? profile_of(describe_device(ctx.device())) : nominal_cpu();
  return on_all(world, [&] { return choose_plan(config, input, profile, limit); });
}

}  // namespace tessera::launch
