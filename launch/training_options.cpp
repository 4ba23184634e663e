#include "launch/training_options.h"

#include <algorithm>

namespace tessera::launch {

lora::AdapterOptions adapter_options(const Config& config) {
  lora::AdapterOptions options;
  options.r = config.lora_r;
  options.alpha = config.lora_alpha;
  options.rslora = config.use_rslora;
  options.dropout = config.lora_dropout;
  options.targets.modules = config.lora_target_modules;
  options.targets.said_in = config.source + ": lora_target_modules";
  return options;
}

optim::LrSchedule make_schedule(const Config& config, int64_t total_steps) {
  using Kind = optim::LrScheduleOptions::Kind;
  optim::LrScheduleOptions options;
  switch (config.lr_scheduler) {
    case LrScheduler::kCosine:
      options.kind = Kind::kCosine;
      break;
    case LrScheduler::kLinear:
      options.kind = Kind::kLinear;
      break;
    case LrScheduler::kConstant:
      options.kind = Kind::kConstant;
      break;
    case LrScheduler::kConstantWithWarmup:
      options.kind = Kind::kConstantWithWarmup;
      break;
  }
  options.learning_rate = config.learning_rate;
  options.total_steps = total_steps;
  options.warmup_steps = config.warmup_steps
                             ? *config.warmup_steps
                             : optim::warmup_steps_of_ratio(config.warmup_ratio, total_steps);
  return optim::LrSchedule(options);
}

bool is_8bit(OptimizerKind kind) {
  return kind == OptimizerKind::kAdamW8bit || kind == OptimizerKind::kPagedAdamW8bit;
}

optim::PageOptions page_options(const Config& config, Device device) {
  optim::PageOptions options;
  options.device = device;
  if (config.optimizer_page_budget) options.budget = size_t(*config.optimizer_page_budget);
  options.directory = config.optimizer_page_dir.value_or("");
  return options;
}

std::vector<parallel::LayerGroup> layer_groups(parallel::Policy policy, int64_t size, int64_t kept,
                                               int64_t layers) {
  kept = std::min(kept, layers);
  auto groups = parallel::uniform_groups(layers - kept, policy, size);
  for (int64_t layer = layers - kept; layer < layers; ++layer) {
    groups.push_back({layer, 1, parallel::Policy::kKeep});
  }
  return groups;
}

}  // namespace tessera::launch
