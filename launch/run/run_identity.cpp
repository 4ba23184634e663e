#include "launch/run/run_identity.h"

#include "launch/config/flags.h"
#include "launch/config/options.h"
#include "launch/config/scheduler_keys.h"
#include "launch/data/packing.h"
#include "runtime/io/hash.h"

namespace tessera::launch {

using nlohmann::json;

json run_identity(const Config& c, const RunMadeFrom& from) {
  const lora::ModuleList& targets = c.lora_target_modules;
  json all = {
      {"base_hash", fmt::format("{:016x}", from.base_hash)},
      {"data_hash", fmt::format("{:016x}", from.data_hash)},
      {"compute_dtype", name_of(from.compute_dtype)},
      {"micro_batch_size", *c.micro_batch_size},
      {"micro_batches_per_step", from.micro_batches},
      {"total_steps", from.total_steps},
      {"sequence_len", c.sequence_len},
      {"sample_packing", c.sample_packing},
      {"shuffle", c.shuffle},
      {"seed", c.seed},
      {"lora_r", c.lora_r},
      {"lora_alpha", c.lora_alpha},
      {"lora_dropout", c.lora_dropout},
      {"lora_target_modules",
       targets.pattern.empty() ? json(targets.names) : json(targets.pattern)},
      {"use_rslora", c.use_rslora},
      {"learning_rate", c.learning_rate},
      {"lr_scheduler", int(c.lr_scheduler)},
      {"warmup_ratio", c.warmup_ratio},
      {"warmup_steps", c.warmup_steps.value_or(-1)},
      {"optimizer_bits", int(c.optimizer.bits)},
      {"max_grad_norm", c.max_grad_norm},
  };
  // AdamW has no name there: its checkpoints are older than all other rules.
  const optim::Rule& rule = *c.optimizer.rule;
  const optim::OptimizerOptions options = optimizer_options(c);
  for (const optim::RuleOption& option : rule.options) {
    all[std::string(option.key)] = options.*option.value;
  }
  if (&rule != &optim::adamw_rule()) all["optimizer"] = std::string(rule.name);
  if (c.loss != &lora::default_loss()) all["loss"] = c.loss->name;  // likewise, as all below
  if (c.label_smoothing_factor != 0) all["label_smoothing_factor"] = c.label_smoothing_factor;
  if (c.neftune_noise_alpha != 0) all["neftune_noise_alpha"] = c.neftune_noise_alpha;
  if (c.loraplus_lr_ratio != 1) all["loraplus_lr_ratio"] = c.loraplus_lr_ratio;
  if (c.lr_scheduler_kwargs != optim::SchedulerArguments{}) {
    all["lr_scheduler_kwargs"] = SchedulerArgumentsType{}.write(c.lr_scheduler_kwargs);
  }
  if (c.cosine_min_lr_ratio != 0) all["cosine_min_lr_ratio"] = c.cosine_min_lr_ratio;
  if (c.cosine_constant_lr_ratio != 0) {
    all["cosine_constant_lr_ratio"] = c.cosine_constant_lr_ratio;
  }
  if (c.sample_packing && c.shuffle) all["packer"] = kPacker;
  if (c.group_by_length) all["group_by_length"] = true;
  // In their order, which counts.
  for (const auto& [module, r] : c.lora_rank_pattern) {
    all["lora_rank_pattern"].push_back({module, r});
  }
  for (const auto& [module, alpha] : c.lora_alpha_pattern) {
    all["lora_alpha_pattern"].push_back({module, alpha});
  }
  if (!c.lora_modules_to_save.empty()) all["lora_modules_to_save"] = c.lora_modules_to_save;
  if (c.lora_ensure_weight_tying) all["lora_ensure_weight_tying"] = true;
  if (!c.lora_trainable_token_indices.empty()) {
    all["lora_trainable_token_indices"] = c.lora_trainable_token_indices;
  }
  return all;
}

json what_all_run(const Config& config) {
  json all = {{"program", io::hash_file("/proc/self/exe")}};
  for (const FlagGroup& group : flag_groups()) {
    for (const Flag& flag : group.flags) {
      if (flag.name != "threads") all[std::string(flag.name)] = flag.write(config);
    }
  }
  return all;
}

}  // namespace tessera::launch
