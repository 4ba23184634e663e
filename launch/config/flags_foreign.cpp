// Keys that configs of other trainers hold and ours do not: those that are not needed here, and
// those that ask for what is missing. See foreign_keys.h; those that mean something in our keys are
// in foreign_meanings.cpp and foreign_data.cpp.
#include <algorithm>

#include "launch/config/flags_types.h"
#include "launch/config/foreign_keys.h"

namespace tessera::launch {

namespace {

ForeignKey unneeded(std::vector<std::string_view> names, std::string_view why) {
  return {std::move(names), {}, why, ForeignUse::kNotNeeded};
}

std::vector<ForeignKey> unneeded_of_the_model() {
  return {
      unneeded(
          {"model_type", "tokenizer_type", "is_llama_derived_model", "is_mistral_derived_model",
           "is_qwen_derived_model", "is_falcon_derived_model", "tokenizer_use_fast",
           "use_fast_tokenizer", "tokenizer_legacy", "tokenizer_save_jinja_files"},
          "the checkpoint's own config and tokenizer are used"),
      unneeded({"trust_remote_code"}, "code from a checkpoint is never run"),
      unneeded(
          {"low_cpu_mem_usage", "qlora_sharded_model_loading", "experimental_skip_move_to_device",
           "device_map", "max_memory", "gpu_memory_limit", "offload_folder", "cache_dir",
           "hf_hub_token", "hf_use_auth_token", "use_auth_token", "bnb_4bit_quant_storage",
           "upcast_layernorm", "upcast_lmhead_output", "resize_token_embeddings_to_32x",
           "shrink_embeddings", "mean_resizing_embeddings", "use_cache", "infer_dtype"},
          "each rank reads its part of the checkpoint, as the plan says"),
      unneeded({"flash_attention", "flash_attn", "attn_implementation", "sdp_attention",
                "xformers_attention", "eager_attention", "flex_attention", "sage_attention",
                "flash_optimum", "flash_attn_rms_norm", "flash_attn_cross_entropy",
                "flash_attn_fuse_qkv", "flash_attn_fuse_mlp", "flash_attn_version"},
               "there is one attention, exact and in blocks"),
      unneeded({"lora_mlp_kernel",
                "lora_qkv_kernel",
                "lora_o_kernel",
                "lora_embedding_kernel",
                "torch_compile",
                "torch_compile_backend",
                "torch_compile_mode",
                "torchdynamo",
                "enable_liger_kernel",
                "use_liger_kernel",
                "use_liger",
                "liger_kernel_config",
                "liger_rope",
                "liger_rms_norm",
                "liger_glu_activation",
                "liger_swiglu",
                "liger_layer_norm",
                "liger_cross_entropy",
                "liger_fused_linear_cross_entropy",
                "cut_cross_entropy",
                "chunked_cross_entropy",
                "chunked_cross_entropy_num_chunks",
                "unsloth_cross_entropy_loss",
                "unsloth_lora_mlp",
                "unsloth_lora_qkv",
                "unsloth_lora_o",
                "unsloth_rms_norm",
                "unsloth_rope",
                "use_unsloth",
                "jit_mode_eval",
                "use_ipex",
                "tiled_mlp",
                "use_kernels"},
               "the kernels are built in; the numbers do not depend on them"),
      unneeded({"tf32"}, "products are never rounded to TF32"),
      unneeded(
          {"bf16_full_eval", "fp16_full_eval", "fp16_opt_level", "fp16_backend",
           "half_precision_backend", "autocast_adapter_dtype", "cast_trainable_params_to_fp32"},
          "bnb_4bit_compute_dtype says what products are computed in"),
      unneeded({"gradient_checkpointing_kwargs", "activation_offloading", "layer_offloading",
                "use_reentrant_gc", "torch_empty_cache_steps", "gc_steps"},
               "gradient_checkpointing and the memory plan decide"),
      unneeded(
          {"deepspeed", "fsdp", "fsdp_config", "fsdp_version", "fsdp_transformer_layer_cls_to_wrap",
           "fsdp_min_num_params", "accelerator_config", "dp_shard_size", "dp_replicate_size",
           "ddp_timeout", "ddp_bucket_cap_mb", "ddp_broadcast_buffers",
           "ddp_find_unused_parameters", "ddp_backend", "local_rank", "world_size"},
          "ranks share the base and the batch by themselves; sharding says how"),
  };
}

std::vector<ForeignKey> unneeded_of_the_data() {
  return {
      unneeded({"pad_to_sequence_len", "pad_to_multiple_of", "eval_sample_packing", "eval_packing",
                "padding_free", "padding_side", "packing_strategy", "packed_padding_strategy",
                "sample_packing_group_size", "sample_packing_bin_size", "sample_packing_eff_est",
                "sample_packing_sequentially", "sample_packing_drop_attention_mask",
                "multipack_real_batches", "batch_flattening", "total_num_tokens",
                "total_supervised_tokens", "pad_token"},
               "nothing is padded, and samples in a row never see each other"),
      unneeded(
          {"dataset_num_proc", "preprocessing_num_workers", "dataset_processes",
           "dataset_keep_in_memory", "overwrite_cache", "preprocessing_batch_size",
           "data_shared_file_system", "dataloader_num_workers", "dataloader_pin_memory",
           "dataloader_prefetch_factor", "dataloader_persistent_workers", "remove_unused_columns",
           "streaming", "buffer_size", "dataset_batch_size", "include_num_input_tokens_seen"},
          "rows are read one by one, and prepared without it"),
      unneeded({"shuffle_merged_datasets", "shuffle_before_merging_datasets", "data_seed",
                "shuffle_dataset", "group_by_modality_length"},
               "shuffle and seed say in which order rows come"),
      unneeded({"eval_batch_size", "per_device_eval_batch_size", "eval_accumulation_steps",
                "batch_eval_metrics", "prediction_loss_only", "include_for_metrics"},
               "validation uses micro_batch_size"),
      unneeded(
          {"eval_table_size", "eval_max_new_tokens", "eval_causal_lm_metrics", "do_causal_lm_eval",
           "do_bench_eval", "predict_with_generate", "generate_samples", "compute_accuracy"},
          "validation measures loss and perplexity; sample_prompts shows texts"),
      unneeded({"eot_tokens"}, "the end of a turn is found in the chat template"),
  };
}

std::vector<ForeignKey> unneeded_of_the_run() {
  return {
      unneeded({"wandb_project",
                "wandb_entity",
                "wandb_name",
                "wandb_run_id",
                "wandb_watch",
                "wandb_log_model",
                "wandb_mode",
                "use_wandb",
                "use_mlflow",
                "mlflow_tracking_uri",
                "mlflow_experiment_name",
                "mlflow_run_name",
                "hf_mlflow_log_artifacts",
                "use_comet",
                "comet_api_key",
                "comet_workspace",
                "comet_project_name",
                "comet_experiment_key",
                "comet_mode",
                "comet_online",
                "use_swanlab",
                "swanlab_project",
                "swanlab_workspace",
                "swanlab_run_name",
                "swanlab_mode",
                "use_trackio",
                "trackio_project_name",
                "trackio_space_id",
                "use_otel_metrics",
                "run_name",
                "plot_loss",
                "logging_strategy",
                "logging_first_step",
                "logging_nan_inf_filter",
                "log_level",
                "log_level_replica",
                "log_on_each_node",
                "disable_tqdm",
                "include_tokens_per_second",
                "include_tkps",
                "skip_memory_metrics",
                "log_completions",
                "project"},
               "metrics.jsonl in output_dir holds the numbers; report_to: tensorboard gives "
               "TensorBoard's files, which other trackers read"),
      unneeded({"hub_model_id", "hub_strategy", "push_to_hub", "push_dataset_to_hub", "hub_token",
                "hub_private_repo", "hub_always_push", "hub_revision", "push_to_hub_model_id",
                "push_to_hub_organization", "export_hub_model_id"},
               "nothing is uploaded; the adapter is in output_dir"),
      unneeded({"save_only_model", "save_on_each_node", "restore_callback_states_from_checkpoint",
                "enable_jit_checkpoint"},
               "a checkpoint is complete, and the adapter lies in it by itself"),
      unneeded({"loraplus_lr_embedding"}, "it is for adapters of embeddings, which get none here"),
      unneeded({"do_eval", "strict", "debug", "full_determinism", "use_legacy_prediction_loop",
                "past_index", "auto_find_batch_size", "average_tokens_across_devices",
                "include_inputs_for_metrics", "label_names", "ray_scope", "ray_run_name",
                "ray_num_workers", "resources_per_worker", "profiler_steps", "print_param_status"},
               "the result is the same without it"),
  };
}

std::vector<ForeignKey> refused_of_the_model() {
  return {
      {{"load_in_8bit"}, {}, "set adapter: qlora (a 4-bit base) or adapter: lora (a 16-bit one)"},
      {{"tensor_parallel_size", "context_parallel_size", "sequence_parallel_degree",
        "expert_parallel_size"},
       {"1", "0"},
       "set sharding; ranks split the base and the batch, not single matrices or sequences"},
      {{"tokens", "new_special_tokens", "add_tokens", "add_special_tokens",
        "added_tokens_overrides", "resize_vocab"},
       {},
       "tokens cannot be added to a vocabulary; train rows that are there by "
       "lora_trainable_token_indices"},
      {{"rope_scaling", "rope_theta", "sliding_window", "overrides_of_model_config",
        "overrides_of_model_kwargs", "rope_parameters", "model_max_length"},
       {"none"},
       "set it in the config.json of the checkpoint"},
      {{"s2_attention", "shift_attn"}, {}, "attention is exact; remove it"},
      {{"unfrozen_parameters", "fix_untrained_tokens", "freeze_vision_tower",
        "freeze_trainable_layers"},
       {"true"},
       "only adapters and lora_modules_to_save are trained"},
      {{"use_dora",
        "peft_use_dora",
        "lora_on_cpu",
        "lora_fan_in_fan_out",
        "peft_init_lora_weights",
        "init_lora_weights",
        "loftq_config",
        "peft",
        "pissa_init",
        "pissa_convert",
        "lora_target_parameters",
        "target_parameters",
        "peft_layer_replication",
        "peft_layers_to_transform",
        "layers_to_transform",
        "peft_layers_pattern",
        "relora",
        "relora_steps",
        "jagged_restart_steps",
        "lisa_n_layers",
        "create_new_adapter",
        "peft_trainable_tokens",
        "lora_bias"},
       {"none"},
       "remove it; that method is not offered"},
      {{"use_galore", "use_apollo", "use_badam", "use_adam_mini", "use_muon",
        "optim_target_modules", "optim_args", "lr_groups", "embedding_lr", "embedding_lr_scale",
        "sp_mode", "torchao_mode", "fp8", "qat", "quantization", "kd_trainer", "mixture_of_depths"},
       {},
       "remove it; that method is not offered"},
  };
}

std::vector<ForeignKey> refused_of_training() {
  return {
      {{"rl", "reward_model", "process_reward_model", "pref_beta", "pref_loss", "pref_ftx",
        "dpo_beta", "rl_beta", "kto_desirable_weight", "trl"},
       {},
       "remove it; there is supervised fine-tuning only"},
      {{"stage"}, {"sft"}, "remove it; there is supervised fine-tuning only"},
      {{"do_train"}, {"true"}, "remove it; `tessera train` trains"},
      {{"do_predict"}, {}, "remove it; use `tessera generate`"},
      {{"save_safetensors"}, {"true"}, "remove it; only safetensors are written"},
      {{"save_first_step", "save_on_interrupt", "eval_delay", "eval_on_end", "ignore_data_skip",
        "dataloader_drop_last", "curriculum_sampling", "dynamic_checkpoint"},
       {"0"},
       "remove it; that is not offered"},
      {{"dataset_mixture", "dataset_mixer", "data", "pretraining_dataset", "media_dir",
        "image_max_pixels", "video_max_pixels", "processor_type", "chat_template_path",
        "tool_format"},
       {},
       "list the files under datasets, each with path and type"},
      {{"dataset_exact_deduplication", "dataset_shard_num", "dataset_shard_idx",
        "skip_prepare_dataset", "dataset_kwargs", "min_sample_len", "interleave_probs",
        "sampling_strategy", "train_on_eot"},
       {},
       "prepare the rows of datasets so; it is not offered"},
      {{"mix_strategy"}, {"concat"}, "give data sets a weight instead"},
      {{"split_special_tokens"},
       {},
       "set special_tokens_in_content: letters, which keeps what users wrote apart from tokens"},
      {{"model_revision", "revision_of_model"},
       {"main"},
       "fetch it by `tessera fetch` and give its folder as base_model"},
      {{"loss_type"}, {"nll", "chunked_nll"}, "remove it; that loss is not offered"},
  };
}

}  // namespace

const std::vector<ForeignKey>& foreign_keys() {
  static const std::vector<ForeignKey> keys = [] {
    std::vector<ForeignKey> all = keys_with_meaning();
    for (const auto& more : {unneeded_of_the_model(), unneeded_of_the_data(), unneeded_of_the_run(),
                             refused_of_the_model(), refused_of_training()}) {
      all.insert(all.end(), more.begin(), more.end());
    }
    return all;
  }();
  return keys;
}

const ForeignKey* find_foreign_key(std::string_view key) {
  for (const ForeignKey& foreign : foreign_keys()) {
    if (std::ranges::count(foreign.names, key) > 0) return &foreign;
  }
  return nullptr;
}

bool asks_for_nothing(const ForeignKey& foreign, const YamlNode& value) {
  if (value.kind == YamlNode::Kind::kNull || value.kind == YamlNode::Kind::kFaulty) return true;
  const bool holds = value.kind == YamlNode::Kind::kScalar
                         ? !value.text.empty()
                         : !(value.items.empty() && value.entries.empty());
  if (!holds) return true;
  if (value.kind != YamlNode::Kind::kScalar) return false;
  if (std::ranges::count(foreign.harmless, value.text) > 0) return true;
  const bool wanted = std::ranges::count(foreign.harmless, "true") > 0;
  return parse_bool(value.text) == wanted;
}

}  // namespace tessera::launch
