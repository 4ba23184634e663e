#include "launch/config/options.h"

#include "runtime/core/error.h"
#include "runtime/ops/matmul.h"

namespace tessera::launch {

lora::AdapterOptions adapter_options(const Config& config) {
  lora::AdapterOptions options;
  options.r = config.lora_r;
  options.alpha = config.lora_alpha;
  options.rslora = config.use_rslora;
  options.dropout = config.lora_dropout;
  options.targets.modules = config.lora_target_modules;
  options.targets.said_in = config.source + ": lora_target_modules";
  options.targets.whole = config.lora_modules_to_save;
  options.targets.whole_said_in = config.source + ": lora_modules_to_save";
  options.targets.ensure_tying = config.lora_ensure_weight_tying;
  options.tokens = {config.lora_trainable_token_indices,
                    config.source + ": lora_trainable_token_indices"};
  options.ranks = {config.lora_rank_pattern, config.source + ": lora_rank_pattern"};
  options.alphas = {config.lora_alpha_pattern, config.source + ": lora_alpha_pattern"};
  return options;
}

lora::Loss make_loss(const Config& config) {
  lora::Loss loss = *config.loss;
  loss.settings.label_smoothing = float(config.label_smoothing_factor);
  return loss;
}

optim::LrSchedule make_schedule(const Config& config, int64_t total_steps) {
  optim::LrScheduleOptions options;
  options.scheduler = config.lr_scheduler;
  options.learning_rate = config.learning_rate;
  options.total_steps = total_steps;
  options.arguments = config.lr_scheduler_kwargs;
  options.cosine_min_ratio = config.cosine_min_lr_ratio;
  options.cosine_constant_ratio = config.cosine_constant_lr_ratio;
  options.warmup_steps = config.warmup_steps
                             ? *config.warmup_steps
                             : optim::warmup_steps_of_ratio(config.warmup_ratio, total_steps);
  return optim::LrSchedule(options);
}

optim::OptimizerOptions optimizer_options(const Config& config) {
  return {.beta1 = config.adam_beta1,
          .beta2 = config.adam_beta2,
          .eps = config.adam_epsilon,
          .weight_decay = config.weight_decay};
}

optim::PageOptions page_options(const Config& config, Device device) {
  optim::PageOptions options;
  options.device = device;
  if (config.optimizer_page_budget) options.budget = size_t(*config.optimizer_page_budget);
  options.directory = config.optimizer_page_dir.value_or("");
  return options;
}

std::optional<quant::Storage> quantization(const Config& config) {
  if (config.adapter == AdapterKind::kLora) return std::nullopt;
  quant::Storage storage;
  if (config.bnb_4bit_quant_type) storage.format = *config.bnb_4bit_quant_type;
  if (config.bnb_4bit_blocksize) storage.block = int(*config.bnb_4bit_blocksize);
  if (config.bnb_4bit_use_double_quant) storage.double_quant = *config.bnb_4bit_use_double_quant;
  return storage;
}

Config with_stored_format(Config config, const lora::BaseFormat& stored) {
  const bool quantized = !stored.linear.format->dtype;
  if (!quantized && config.adapter == AdapterKind::kLora) return config;
  const quant::Storage format = quantized ? stored.linear : *quantization(config);
  const auto agree = [&](std::string_view key, auto& value, const auto& held) {
    if (value && *value != held) {
      fail_usage(
          "{}: {} asks for another format than that of base_model {}, which is stored as {} and "
          "is used so; leave {} out",
          config.source, key, config.base_model, quant::describe(format), key);
    }
    value = held;
  };
  if (config.adapter == AdapterKind::kLora) {
    fail_usage(
        "{}: adapter: lora (load_in_4bit: false) asks for a 16-bit base, but base_model {} is "
        "stored as {}; use adapter: qlora, or give the original checkpoint",
        config.source, config.base_model, quant::describe(format));
  }
  agree("bnb_4bit_quant_type", config.bnb_4bit_quant_type, format.format);
  agree("bnb_4bit_blocksize", config.bnb_4bit_blocksize, int64_t(format.block));
  agree("bnb_4bit_use_double_quant", config.bnb_4bit_use_double_quant, format.double_quant);
  return config;
}

lora::BaseFormat base_format(const std::optional<quant::Storage>& quantization,
                             lora::BaseFormat stored) {
  if (!quantization || !stored.linear.format->dtype) return stored;
  stored.linear = *quantization;
  stored.exceptions.clear();
  return stored;
}

std::string describe(const std::optional<quant::Storage>& quantization) {
  return quantization ? quant::describe(*quantization) : "as stored";
}

DType compute_dtype(const Config& config, Device device) {
  return device.is_cuda() ? compute_dtype_on_gpu(config)
                          : compute_dtype_on_cpu(config, has_bf16_products(device));
}

DType compute_dtype_on_cpu(const Config& config, bool bf16_products) {
  const DType type = config.bnb_4bit_compute_dtype.value_or(DType::kF32);
  if (type == DType::kBF16 && !bf16_products) {
    fail_usage(
        "{}: bnb_4bit_compute_dtype: bfloat16 needs a CPU with AVX512_BF16; use float32 here",
        config.source);
  }
  return type;
}

DType compute_dtype_on_gpu(const Config& config) {
  return config.bnb_4bit_compute_dtype.value_or(DType::kBF16);
}

int64_t micro_batches_per_step(const Config& config, int ranks) {
  const int64_t rows = *config.micro_batch_size;
  return config.global_batch_size ? *config.global_batch_size / rows
                                  : config.gradient_accumulation_steps * ranks;
}

}  // namespace tessera::launch
