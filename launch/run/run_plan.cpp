#include "launch/run/run_plan.h"

#include <algorithm>
#include <limits>
#include <set>

#include "launch/config/options.h"
#include "launch/machine/agreement.h"
#include "launch/machine/device.h"
#include "launch/machine/system_limits.h"
#include "launch/plan/plan_table.h"
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

void print_adapter(Console& console, const RunPlan& plan, Device device) {
  const lora::ModelSpec& model = plan.input.model;
  const auto adapters = lora::AdapterSet::shapes(model, plan.input.adapter, device);
  std::string text =
      fmt::format("adapter  r {}, alpha {}", plan.config.lora_r, plan.config.lora_alpha);
  std::vector<std::string_view> whole;
  for (const lora::TensorRow& row : adapters.parts().whole) whole.push_back(row.own_name());
  if (!whole.empty()) text += fmt::format(", {} in full", fmt::join(whole, " and "));
  const size_t tokens = adapters.parts().tokens.ids.size();
  if (tokens > 0) {
    text += fmt::format(", the row{} of {} token{} in embed_tokens{}", tokens == 1 ? "" : "s",
                        format_count(int64_t(tokens)), tokens == 1 ? "" : "s",
                        model.tied_head ? " and the head tied to it" : "");
  }
  console.line(
      fmt::format("{}, {} trainable parameters", text, format_count(adapters.trainable())));
  if (model.tied_head && !whole.empty() && !adapters.ties_head()) {
    console.line(
        "         training unties the head from the embedding, as PEFT does; "
        "lora_ensure_weight_tying: true keeps them one matrix");
  } else if (plan.config.lora_ensure_weight_tying && !model.tied_head) {
    console.line("         lora_ensure_weight_tying has no effect: the head has its own weights");
  }
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

void print_banner(Console& console, const RunPlan& plan, const RunInputs& inputs,
                  const Context& ctx) {
  const Config& config = plan.config;
  const RunData& data = inputs.data;
  const RunSteps& steps = inputs.steps;
  const lora::ModelSpec& c = plan.input.model;
  const lora::AttentionSpec& attention = c.layers.front().attention;
  const size_t base = lora::BaseLayout(c, plan.input.format).bytes();
  console.line(fmt::format("model    {} ({} layers, hidden {}, {} heads / {} kv, vocab {})",
                           config.base_model, c.layer_count(), c.hidden, attention.heads,
                           attention.kv_heads, format_count(c.vocab)));
  console.line(
      fmt::format("base     {}: {}", describe(quantization(config)), format_bytes(int64_t(base))));
  console.line(fmt::format("compute  {}; {}", describe_compute(ctx.compute_dtype(), ctx.device()),
                           ctx.device().is_cuda() ? describe_device(ctx.device())
                                                  : fmt::format("{} threads", ctx.threads())));
  print_adapter(console, plan, ctx.device());
  console.line(fmt::format("data     {} rows to train on ({} tokens, {} supervised), {}{}",
                           format_count(int64_t(data.training.size())),
                           format_count(data.counts.tokens), format_count(data.counts.supervised),
                           data.describe_evaluation(), describe_losses(data.counts)));
  console.line(fmt::format("steps    {} of {} x {} rows{}", steps.steps(),
                           data.options.micro_batches, data.options.micro_batch_size,
                           config.sample_packing
                               ? fmt::format(", packed to {:.0f} % of {} tokens",
                                             100 * steps.packing_efficiency(), config.sequence_len)
                               : std::string()));
  if (const int ranks = plan.input.ranks(); ranks > 1) {
    const std::set<int> nodes(plan.input.nodes.begin(), plan.input.nodes.end());
    console.line(fmt::format("ranks    {} on {} node{}, base {}", ranks, nodes.size(),
                             nodes.size() == 1 ? "" : "s", name_of(plan.chosen.sharding.mode)));
  }
  for (const std::string& line : plan_table(plan.chosen, plan.input)) console.line(line);
}

}  // namespace tessera::launch
