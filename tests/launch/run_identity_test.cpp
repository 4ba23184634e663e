// What a resume must find unchanged: each setting that a run computes from, and no other.
#include "launch/run/run_identity.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

namespace tessera::launch {
namespace {

using nlohmann::json;
using Keys = std::set<std::string>;

constexpr RunMadeFrom kFrom{1, 2, DType::kF32, 3, 4};

/// The keys in which a run with these settings differs from one with the defaults.
Keys changed_by(void (*change)(Config&, RunMadeFrom&)) {
  Config config;
  RunMadeFrom from = kFrom;
  change(config, from);
  const json now = run_identity(config, from), before = run_identity({}, kFrom);
  Keys keys;
  for (const auto& [key, value] : now.items()) {
    if (before.value(key, json()) != value) keys.insert(key);
  }
  for (const auto& [key, value] : before.items()) {
    if (!now.contains(key)) keys.insert(key);
  }
  return keys;
}

struct Change {
  std::string key;
  void (*make)(Config& config, RunMadeFrom& from);
};

const std::vector<Change> kChanges = {
    {"base_hash", [](Config&, RunMadeFrom& from) { from.base_hash = 9; }},
    {"data_hash", [](Config&, RunMadeFrom& from) { from.data_hash = 9; }},
    {"compute_dtype", [](Config&, RunMadeFrom& from) { from.compute_dtype = DType::kBF16; }},
    {"micro_batches_per_step", [](Config&, RunMadeFrom& from) { from.micro_batches = 9; }},
    {"total_steps", [](Config&, RunMadeFrom& from) { from.total_steps = 9; }},
    {"micro_batch_size", [](Config& config, RunMadeFrom&) { config.micro_batch_size = 9; }},
    {"sequence_len", [](Config& config, RunMadeFrom&) { config.sequence_len = 9; }},
    {"sample_packing", [](Config& config, RunMadeFrom&) { config.sample_packing = false; }},
    {"shuffle", [](Config& config, RunMadeFrom&) { config.shuffle = false; }},
    {"seed", [](Config& config, RunMadeFrom&) { config.seed = 9; }},
    {"lora_r", [](Config& config, RunMadeFrom&) { config.lora_r = 9; }},
    {"lora_alpha", [](Config& config, RunMadeFrom&) { config.lora_alpha = 9; }},
    {"lora_dropout", [](Config& config, RunMadeFrom&) { config.lora_dropout = 0.5; }},
    {"lora_target_modules",
     [](Config& config, RunMadeFrom&) { config.lora_target_modules.names = {"q_proj"}; }},
    {"lora_target_modules",
     [](Config& config, RunMadeFrom&) { config.lora_target_modules.pattern = ".*q_proj"; }},
    {"use_rslora", [](Config& config, RunMadeFrom&) { config.use_rslora = true; }},
    {"learning_rate", [](Config& config, RunMadeFrom&) { config.learning_rate = 0.5; }},
    {"lr_scheduler",
     [](Config& config, RunMadeFrom&) { config.lr_scheduler = optim::LrScheduler::kLinear; }},
    {"warmup_ratio", [](Config& config, RunMadeFrom&) { config.warmup_ratio = 0.5; }},
    {"warmup_steps", [](Config& config, RunMadeFrom&) { config.warmup_steps = 0; }},
    {"optimizer_bits",
     [](Config& config, RunMadeFrom&) { config.optimizer.bits = optim::StateBits::k8; }},
    {"max_grad_norm", [](Config& config, RunMadeFrom&) { config.max_grad_norm = 9; }},
    {"adam_beta1", [](Config& config, RunMadeFrom&) { config.adam_beta1 = 0.5; }},
    {"adam_beta2", [](Config& config, RunMadeFrom&) { config.adam_beta2 = 0.5; }},
    {"adam_epsilon", [](Config& config, RunMadeFrom&) { config.adam_epsilon = 0.5; }},
    {"weight_decay", [](Config& config, RunMadeFrom&) { config.weight_decay = 0.5; }},
};

TEST(RunIdentity, ChangesWithEachSettingThatARunComputesFrom) {
  Keys all;
  for (const Change& change : kChanges) {
    Keys keys = changed_by(change.make);
    // What is not packed has no packer.
    if (change.key == "sample_packing" || change.key == "shuffle") {
      EXPECT_EQ(keys.erase("packer"), 1u);
    }
    EXPECT_EQ(keys, Keys{change.key});
    all.insert(change.key);
  }
  const json identity = run_identity({}, kFrom);
  all.insert("packer");
  Keys keys;
  for (const auto& [key, value] : identity.items()) keys.insert(key);
  EXPECT_EQ(keys, all) << "each key has a row above";
}

/// Checkpoints that are older than these settings are those of runs without them.
TEST(RunIdentity, HoldsWhatIsTrainedBesideTheUsualWhereItIsAskedFor) {
  const std::vector<Change> changes = {
      {"lora_rank_pattern",
       [](Config& config, RunMadeFrom&) {
         config.lora_rank_pattern = {{"q_proj", 4}};
       }},
      {"lora_alpha_pattern",
       [](Config& config, RunMadeFrom&) {
         config.lora_alpha_pattern = {{"q_proj", 4}};
       }},
      {"lora_modules_to_save",
       [](Config& config, RunMadeFrom&) { config.lora_modules_to_save = {"lm_head"}; }},
      {"lora_ensure_weight_tying",
       [](Config& config, RunMadeFrom&) { config.lora_ensure_weight_tying = true; }},
      {"lora_trainable_token_indices",
       [](Config& config, RunMadeFrom&) { config.lora_trainable_token_indices = {3}; }},
      {"label_smoothing_factor",
       [](Config& config, RunMadeFrom&) { config.label_smoothing_factor = 0.1; }},
      {"neftune_noise_alpha", [](Config& config, RunMadeFrom&) { config.neftune_noise_alpha = 5; }},
      {"loraplus_lr_ratio", [](Config& config, RunMadeFrom&) { config.loraplus_lr_ratio = 16; }},
      {"lr_scheduler_kwargs",
       [](Config& config, RunMadeFrom&) { config.lr_scheduler_kwargs.num_cycles = 1; }},
      {"cosine_min_lr_ratio",
       [](Config& config, RunMadeFrom&) { config.cosine_min_lr_ratio = 0.1; }},
      {"cosine_constant_lr_ratio",
       [](Config& config, RunMadeFrom&) { config.cosine_constant_lr_ratio = 0.8; }}};
  const json usual = run_identity({}, kFrom);
  for (const Change& change : changes) {
    EXPECT_EQ(changed_by(change.make), Keys{change.key});
    EXPECT_FALSE(usual.contains(change.key));
  }
  Config one, other;
  one.lora_rank_pattern = {{"q_proj", 4}, {".*", 2}};
  other.lora_rank_pattern = {{".*", 2}, {"q_proj", 4}};
  EXPECT_NE(run_identity(one, kFrom), run_identity(other, kFrom));
}

TEST(RunIdentity, StaysWithRanksMemoryAndOutput) {
  const Keys changed = changed_by([](Config& config, RunMadeFrom&) {
    config.gradient_checkpointing = parallel::Policy::kRecompute;
    config.gradient_checkpointing_layers = 2;
    config.optimizer.paged = true;
    config.optimizer_page_budget = 0;
    config.optimizer_sharding = true;
    config.sharding = parallel::Sharding::Mode::kFull;
    config.memory_budget = 9;
    config.threads = 9;
    config.output_dir = "elsewhere";
    config.save_steps = 9;
    config.eval_steps = 9;
    config.logging_steps = 9;
    config.reduction = Reduction::kFast;  // whose sums may differ from run to run anyway
  });
  EXPECT_EQ(changed, Keys{});
}

}  // namespace
}  // namespace tessera::launch
