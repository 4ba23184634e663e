// The part of the flag table that says how a run trains. See flags_training.h.
#include "launch/config/flags_training.h"

#include <map>

#include "launch/config/scheduler_keys.h"

namespace tessera::launch {

namespace {

std::vector<Choice<const lora::Loss*>> all_losses() {
  std::vector<Choice<const lora::Loss*>> choices;
  for (const lora::Loss& loss : lora::losses()) choices.emplace_back(&loss, loss.name);
  return choices;
}

std::vector<Choice<optim::LrScheduler>> all_schedulers() {
  std::vector<Choice<optim::LrScheduler>> choices;
  for (const optim::SchedulerRow& row : optim::schedulers()) {
    choices.emplace_back(row.scheduler, row.name);
  }
  return choices;
}

/// Each rule with each kind of state: adamw, adamw_8bit, paged_adamw_32bit, paged_adamw_8bit.
std::vector<Choice<optim::OptimizerKind>> optimizer_kinds() {
  using optim::StateBits;
  const std::map<std::string, std::vector<std::string_view>> synonyms = {
      {"adamw", {"adamw_torch", "adamw_torch_fused", "adamw_hf"}},
      {"adamw_8bit", {"adamw_bnb_8bit", "adamw_torch_8bit"}},
      {"paged_adamw_32bit", {"paged_adamw"}},
  };
  std::vector<Choice<optim::OptimizerKind>> choices;
  const auto add = [&](const optim::OptimizerKind& kind, const std::string& name) {
    const auto known = synonyms.find(name);
    choices.emplace_back(kind, name,
                         known == synonyms.end() ? std::vector<std::string_view>() : known->second);
  };
  for (const optim::Rule& rule : optim::rules()) {
    add({&rule, StateBits::k32, false}, std::string(rule.name));
    add({&rule, StateBits::k8, false}, fmt::format("{}_8bit", rule.name));
    add({&rule, StateBits::k32, true}, fmt::format("paged_{}_32bit", rule.name));
    add({&rule, StateBits::k8, true}, fmt::format("paged_{}_8bit", rule.name));
  }
  return choices;
}

}  // namespace

std::vector<Flag> batch_flags() {
  return {
      flag("micro_batch_size", &Config::micro_batch_size,
           OptionalType<IntType>{{1, 1 << 20}, "auto", kNotInThisVersion},
           "Rows that go through the model at once.")
          .alias({"per_device_train_batch_size", "batch_size"}),
      flag(
          "global_batch_size", &Config::global_batch_size, OptionalType<IntType>{{1, kMostSteps}},
          "Rows a step, over all ranks; a multiple of micro_batch_size. The result does not depend "
          "on the number of ranks."),
      flag("gradient_accumulation_steps", &Config::gradient_accumulation_steps,
           IntType{1, kMostSteps},
           "Micro-batches a step, on each rank. Say this or global_batch_size.")
          .ruled_out_by(
              "global_batch_size", [](const Config& c) { return c.global_batch_size.has_value(); },
              "each says how many micro-batches make a step; keep one"),
      flag("num_epochs", &Config::num_epochs,
           RealType{.low = 0, .high = double(kMostSteps), .above = true},
           "Passes over the data; of the last one a part, with 2.5 a half of its steps. max_steps "
           "wins where both are given.")
          .alias({"num_train_epochs"}),
      flag("max_steps", &Config::max_steps, OptionalType<IntType>{{1, kMostSteps}},
           "Stop after so many optimizer steps, whatever num_epochs says."),
      flag("gradient_checkpointing", &Config::gradient_checkpointing, CheckpointingType{},
           "Recompute activations in the backward pass instead of keeping them: less memory, the "
           "same numbers. offload also moves each group's input to host memory and back; auto lets "
           "the memory plan decide. unsloth means offload."),
      flag("gradient_checkpointing_layers", &Config::gradient_checkpointing_layers,
           IntType{1, 1 << 20},
           "Layers that are recomputed together. More of them keep fewer inputs, but all of a "
           "group's activations at once."),
      flag("gradient_checkpointing_kept_layers", &Config::gradient_checkpointing_kept_layers,
           IntType{0, 1 << 20},
           "The last layers, whose activations are kept while those before them are recomputed."),
      flag("loss", &Config::loss, ChoiceType<const lora::Loss*>{all_losses()},
           "The function that training minimizes over the tokens to learn."),
      flag("label_smoothing_factor", &Config::label_smoothing_factor,
           RealType{.low = 0, .high = 1, .below = true},
           "Share of each target that is spread over the whole vocabulary, as in transformers. "
           "Validation and eval measure the smoothed loss, too; its exponential is then no "
           "perplexity.")
          .ruled_out_by(
              "loss",
              [](const Config& c) {
                return c.label_smoothing_factor != 0 && c.loss != &lora::default_loss();
              },
              "only cross_entropy has it"),
      flag("neftune_noise_alpha", &Config::neftune_noise_alpha, RealType{},
           "NEFTune: in training, each number of the embedding gets uniform noise of at most "
           "neftune_noise_alpha / sqrt(tokens of the longest row of the micro-batch * hidden "
           "size); 0 is none. A packed row counts with all of its samples.")
          .candidates()
          .alias({"noisy_embedding_alpha"}),
      flag("seed", &Config::seed, IntType{}, "Key of every random choice.").alias({"random_seed"}),
  };
}

std::vector<Flag> optimizer_flags() {
  const auto not_paged = [](const Config& c) { return !c.optimizer.paged; };
  const std::string_view paged_cure = "only a paged optimizer has pages; use paged_adamw_32bit";
  return {
      flag("optimizer", &Config::optimizer, ChoiceType<optim::OptimizerKind>{optimizer_kinds()},
           "The update rule, and whether its state is 8-bit or paged to the host.")
          .candidates()
          .alias({"optim"}),
      flag("optimizer_page_budget", &Config::optimizer_page_budget,
           OptionalType<SizeType>{{}, "auto"},
           "Optimizer state that stays on the device; auto is what is left over.")
          .ruled_out_by("optimizer", not_paged, paged_cure),
      flag("optimizer_page_dir", &Config::optimizer_page_dir, OptionalType<PathType>{},
           "Folder for pages that do not fit in host memory.")
          .ruled_out_by("optimizer", not_paged, paged_cure),
      flag("optimizer_sharding", &Config::optimizer_sharding, BoolType{},
           "Each rank keeps only its part of the optimizer state."),
      flag("max_grad_norm", &Config::max_grad_norm, RealType{},
           "Gradients with a larger norm are scaled down to it; 0 turns that off.")
          .candidates(),
      flag("weight_decay", &Config::weight_decay, RealType{}, "Decoupled weight decay of AdamW.")
          .candidates(),
      flag("adam_beta1", &Config::adam_beta1, RealType{.low = 0, .high = 1, .below = true},
           "Decay of the first moment.")
          .candidates(),
      flag("adam_beta2", &Config::adam_beta2, RealType{.low = 0, .high = 1, .below = true},
           "Decay of the second moment.")
          .candidates(),
      flag("adam_epsilon", &Config::adam_epsilon, RealType{.low = 0, .above = true},
           "Added to the root of the second moment.")
          .candidates(),
      flag("loraplus_lr_ratio", &Config::loraplus_lr_ratio, RealType{.low = 0, .above = true},
           "LoRA+: the learning rate of the matrices B of adapters over that of all else, with the "
           "groups of PEFT's create_loraplus_optimizer; 1 is plain LoRA. weight_decay holds for "
           "both.")
          .candidates(),
  };
}

std::vector<Flag> schedule_flags() {
  using optim::LrScheduler;
  return {
      flag("learning_rate", &Config::learning_rate, RealType{.low = 0, .above = true},
           "The highest learning rate of the schedule.")
          .candidates(),
      flag("lr_scheduler", &Config::lr_scheduler, ChoiceType<LrScheduler>{all_schedulers()},
           "How the learning rate falls after warm-up, as in transformers: cosine and linear reach "
           "0 at the last step.")
          .candidates()
          .alias({"lr_scheduler_type"}),
      flag("lr_scheduler_kwargs", &Config::lr_scheduler_kwargs, SchedulerArgumentsType{},
           "Arguments of the scheduler, as in transformers. cosine and cosine_with_restarts: "
           "num_cycles. polynomial: lr_end, power. inverse_sqrt: timescale. cosine_with_min_lr: "
           "min_lr or min_lr_rate, num_cycles. cosine_warmup_with_min_lr: the same, and "
           "warmup_lr_rate. warmup_stable_decay: num_decay_steps, num_stable_steps, warmup_type, "
           "decay_type (linear, cosine or 1-sqrt), min_lr_ratio, num_cycles.")
          .candidates()
          .ruled_out_by(
              "cosine_min_lr_ratio",
              [](const Config& c) {
                return c.cosine_min_lr_ratio != 0 && c.lr_scheduler == LrScheduler::kCosine &&
                       c.lr_scheduler_kwargs != optim::SchedulerArguments{};
              },
              "that cosine takes no arguments; keep one, or use lr_scheduler: cosine_with_min_lr "
              "with min_lr_rate"),
      flag("cosine_min_lr_ratio", &Config::cosine_min_lr_ratio, RealType{.low = 0, .high = 1},
           "Share of learning_rate at which cosine ends, as in axolotl; 0 is 0.")
          .candidates()
          .ruled_out_by(
              "lr_scheduler",
              [](const Config& c) {
                return c.cosine_min_lr_ratio != 0 && c.lr_scheduler != LrScheduler::kCosine;
              },
              "only cosine ends there; use lr_scheduler: cosine"),
      flag("cosine_constant_lr_ratio", &Config::cosine_constant_lr_ratio,
           RealType{.low = 0, .high = 1},
           "Share of all steps after which cosine has ended, as in axolotl, and the learning rate "
           "stays; 0 is all of them.")
          .candidates()
          .ruled_out_by(
              "cosine_min_lr_ratio",
              [](const Config& c) {
                return c.cosine_constant_lr_ratio != 0 && c.cosine_min_lr_ratio == 0;
              },
              "say where the rate stays, e.g. cosine_min_lr_ratio: 0.1"),
      flag("warmup_ratio", &Config::warmup_ratio, RealType{.low = 0, .high = 1},
           "Share of all steps in which the learning rate rises from 0.")
          .candidates()
          .ruled_out_by(
              "warmup_steps", [](const Config& c) { return c.warmup_steps.has_value(); },
              "each says how long warm-up is; keep one")
          .ruled_out_by(
              "lr_scheduler",
              [](const Config& c) {
                return c.lr_scheduler == LrScheduler::kConstant && c.warmup_ratio != 0;
              },
              "constant has no warm-up; use constant_with_warmup"),
      flag("warmup_steps", &Config::warmup_steps, OptionalType<IntType>{{0, kMostSteps}},
           "Steps in which the learning rate rises from 0. Say this or warmup_ratio.")
          .candidates()
          .ruled_out_by(
              "lr_scheduler",
              [](const Config& c) {
                return c.lr_scheduler == LrScheduler::kConstant && c.warmup_steps.value_or(0) != 0;
              },
              "constant has no warm-up; use constant_with_warmup"),
  };
}

}  // namespace tessera::launch
