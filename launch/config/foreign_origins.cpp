// The trainers that a config may come from, and their defaults where ours are others. See
// foreign_keys.h.
#include "launch/config/foreign_keys.h"

namespace tessera::launch {

const std::vector<Origin>& origins() {
  static const std::vector<Origin> all = {
      {"LLaMA-Factory",
       {"stage", "finetuning_type", "template", "dataset_dir", "quantization_method"},
       {{"lora_r", "8"},
        {"lora_alpha", "2r"},
        {"learning_rate", "5e-5"},
        {"num_epochs", "3"},
        {"lr_scheduler", "linear"},
        {"warmup_ratio", "0", "warmup_steps"},
        {"micro_batch_size", "8"},
        {"sample_packing", "false"},
        {"excess_length_strategy", "truncate"},
        {"save_steps", "500", "saves_per_epoch"}}},
      {"TRL",
       {"use_peft", "dataset_name", "dataset_text_field", "assistant_only_loss",
        "completion_only_loss"},
       {{"lora_dropout", "0.05"},
        {"bnb_4bit_use_double_quant", "false"},
        {"learning_rate", "2e-5"},
        {"num_epochs", "3"},
        {"lr_scheduler", "linear"},
        {"warmup_ratio", "0", "warmup_steps"},
        {"micro_batch_size", "8"},
        {"sequence_len", "1024"},
        {"sample_packing", "false"},
        {"excess_length_strategy", "truncate"},
        {"save_steps", "500", "saves_per_epoch"}}},
      {"axolotl",
       {"model_type", "tokenizer_type", "load_in_8bit", "strict", "flash_attention",
        "xformers_attention", "pad_to_sequence_len", "wandb_project", "is_llama_derived_model"},
       {{"sample_packing", "false"}, {"sequence_len", "512"}}},
  };
  return all;
}

}  // namespace tessera::launch
