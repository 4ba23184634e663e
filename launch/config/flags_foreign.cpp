// Keys that configs for other trainers hold and ours do not. See flags.h.
#include "launch/config/flags.h"

namespace tessera::launch {

namespace {

// A strategy that asks for nothing is "steps", or a way to say none.
constexpr std::string_view kSteps = "steps";

std::vector<ForeignRule> of_saving() {
  return {
      {"save_steps",
       [](const Config& c, std::string_view value) { return value != kSteps && c.save_steps; },
       "no saves nothing before the end; remove save_steps, or set save_strategy: steps"},
      {"save_steps",
       [](const Config& c, std::string_view value) { return value == kSteps && !c.save_steps; },
       "steps needs their number, e.g. save_steps: 500"},
  };
}

std::vector<ForeignRule> of_validation() {
  return {
      {"eval_steps",
       [](const Config& c, std::string_view value) { return value != kSteps && c.eval_steps; },
       "no validates nothing; remove eval_steps and val_set_size, or set eval_strategy: steps"},
      {"val_set_size",
       [](const Config& c, std::string_view value) {
         return value != kSteps && c.val_set_size > 0;
       },
       "no validates nothing; remove val_set_size, or this key to validate at the end"},
      {"eval_steps",
       [](const Config& c, std::string_view value) {
         return value == kSteps && !c.eval_steps && c.val_set_size == 0;
       },
       "steps needs their number and rows to validate on, e.g. eval_steps: 500 and val_set_size: "
       "0.05"},
      {"eval_steps",
       [](const Config& c, std::string_view value) { return value == kSteps && !c.eval_steps; },
       "steps needs their number, e.g. eval_steps: 500"},
  };
}

std::vector<ForeignKey> elsewhere() {
  return {
      {{"bf16", "fp16", "bfloat16", "float16", "torch_dtype"},
       {"auto"},
       "set bnb_4bit_compute_dtype: auto, float32, bfloat16 or float16"},
      {{"tf32"}, {"auto"}, "set bnb_4bit_compute_dtype"},
      {{"use_peft"}, {"true"}, "remove it; only adapters are trained"},
      {{"finetuning_type"}, {}, "set adapter: qlora, or adapter: lora for the 16-bit run"},
      {{"load_in_8bit"}, {}, "set adapter: qlora (a 4-bit base) or adapter: lora (a 16-bit one)"},
      {{"dataset", "dataset_dir", "dataset_name", "dataset_mixture", "data"},
       {},
       "list the files under datasets, each with path and type"},
      {{"template"}, {}, "set chat_template"},
      {{"chat_template_jinja"}, {}, "set chat_template to the file or the Jinja text itself"},
      {{"enable_thinking"}, {}, "set chat_template_kwargs: {enable_thinking: true} or false"},
      {{"evals_per_epoch"}, {"0"}, "set eval_steps"},
      {{"eval_strategy", "evaluation_strategy"}, {"no", kSteps}, "set eval_steps", of_validation()},
      {{"saves_per_epoch"}, {"0"}, "set save_steps"},
      {{"save_strategy"}, {"no", kSteps}, "set save_steps", of_saving()},
      {{"max_samples", "max_train_samples"}, {}, "shorten the files of datasets, or set max_steps"},
      {{"eval_batch_size", "per_device_eval_batch_size"},
       {},
       "remove it; validation uses micro_batch_size"},
      {{"auto_resume_from_checkpoints"}, {}, "set resume_from_checkpoint: auto"},
      {{"disable_gradient_checkpointing"}, {}, "set gradient_checkpointing: false"},
      {{"deepspeed", "fsdp", "fsdp_config", "fsdp_version"},
       {},
       "set sharding: replicate, full, hybrid or host"},
      {{"tensor_parallel_size", "context_parallel_size", "sequence_parallel_degree"},
       {"1"},
       "set sharding; ranks split the base and the batch, not single matrices or sequences"},
  };
}

std::vector<ForeignKey> automatic() {
  return {
      {{"flash_attention", "flash_attn", "attn_implementation", "sdp_attention",
        "xformers_attention", "eager_attention", "flex_attention", "sage_attention"},
       {"auto"},
       "remove it; there is one attention, exact and in blocks"},
      {{"gradient_checkpointing_kwargs", "activation_offloading"},
       {},
       "remove it; gradient_checkpointing and the memory plan decide"},
      {{"pad_to_sequence_len", "eval_sample_packing"},
       {},
       "remove it; it changes nothing here"},
      {{"dataset_num_proc", "preprocessing_num_workers",
        "dataset_processes", "overwrite_cache", "dataloader_num_workers", "dataloader_pin_memory",
        "dataloader_prefetch_factor"},
       {},
       "remove it; data is prepared without it"},
      {{"lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel", "torch_compile", "low_cpu_mem_usage",
        "qlora_sharded_model_loading"},
       {},
       "remove it; the program does without being told"},
      {{"wandb_project", "wandb_entity", "wandb_name", "wandb_run_id", "wandb_watch",
        "wandb_log_model", "wandb_mode", "use_wandb", "use_tensorboard", "report_to", "plot_loss",
        "run_name", "logging_dir", "mlflow_tracking_uri", "mlflow_experiment_name"},
       {"none"},
       "remove it; metrics.jsonl in output_dir always holds the numbers"},
      {{"model_type", "tokenizer_type", "tokenizer_config", "base_model_config", "special_tokens",
        "tokens", "is_llama_derived_model"},
       {},
       "remove it; the checkpoint's own config and tokenizer are used"},
      {{"eval_table_size", "eval_max_new_tokens", "eval_causal_lm_metrics", "do_causal_lm_eval",
        "predict_with_generate"},
       {"0"},
       "remove it; validation measures loss and perplexity, and generates nothing"},
      {{"hub_model_id", "hub_strategy", "push_to_hub", "push_dataset_to_hub"},
       {},
       "remove it; nothing is uploaded"},
      {{"trust_remote_code"}, {}, "remove it; code from a checkpoint is never run"},
      {{"do_train"}, {"true"}, "remove it; the command says what to do"},
      {{"stage"}, {"sft"}, "remove it; there is supervised fine-tuning only"},
      {{"ddp_timeout", "local_rank", "strict", "debug"}, {}, "remove it"},
      {{"save_safetensors"}, {"true"}, "remove it; only safetensors are written"},
  };
}

std::vector<ForeignKey> missing() {
  const std::string_view cure = "remove it; that method is not offered";
  return {
      {{"use_dora", "peft_use_dora", "loraplus_lr_ratio", "lora_on_cpu", "lora_fan_in_fan_out",
        "peft_init_lora_weights", "loftq_config", "pissa_init", "lora_target_parameters",
        "peft_layer_replication"},
       {},
       cure},
      {{"neftune_noise_alpha", "early_stopping_patience", "load_best_model_at_end",
        "loss_watchdog_threshold", "cosine_min_lr_ratio", "label_smoothing_factor", "rl",
        "streaming"},
       {},
       cure},
      {{"optim_args", "lr_scheduler_kwargs", "lr_groups", "embedding_lr"}, {}, cure},
  };
}

}  // namespace

const std::vector<ForeignKey>& foreign_keys() {
  static const std::vector<ForeignKey> keys = [] {
    std::vector<ForeignKey> all = elsewhere();
    for (const auto& more : {automatic(), missing()})
      all.insert(all.end(), more.begin(), more.end());
    return all;
  }();
  return keys;
}

}  // namespace tessera::launch
