#include "launch/model.h"

#include <sched.h>

#include <algorithm>

#include "launch/agreement.h"
#include "launch/system_limits.h"
#include "lora/decoder/loader.h"
#include "lora/peft.h"
#include "parallel/self_communicator.h"
#include "runtime/core/error.h"
#include "runtime/cpu/gemm_bf16.h"

namespace tessera::launch {

BaseChoice BaseChoice::of(const Config& config) {
  BaseChoice choice;
  choice.quantize = config.load_in_4bit;
  choice.format =
      config.bnb_4bit_quant_type == QuantType::kNf4 ? quant::Format::kNf4 : quant::Format::kFp4;
  choice.block = int(config.bnb_4bit_blocksize);
  choice.double_quant = config.bnb_4bit_use_double_quant;
  return choice;
}

lora::BaseFormat BaseChoice::apply(lora::BaseFormat stored) const {
  if (!quantize) return stored;
  stored.linear = format;
  stored.block = block;
  stored.double_quant = double_quant;
  return stored;
}

std::string BaseChoice::describe() const {
  if (!quantize) return "as stored";
  return fmt::format("{}{}, blocks of {}", format == quant::Format::kNf4 ? "NF4" : "FP4",
                     double_quant ? ", double-quantized" : "", block);
}

LoadedModel::LoadedModel(Context& ctx, const std::string& path, const BaseChoice& choice,
                         lora::Placement placement, Console& console)
    : checkpoint_(lora::Checkpoint::open(path)) {
  base_ = std::make_unique<lora::BaseWeights>(
      ctx, config(), choice.apply(lora::checkpoint_format(checkpoint_)), placement);
  fingerprint_ =
      lora::load_base(ctx, checkpoint_, *base_, placement.world, [&](int64_t done, int64_t total) {
        console.live(fmt::format("loading {}: tensor {}/{}", path, done, total));
      });
  console.live("");
  scheduler_ = std::make_unique<parallel::LayerScheduler>(ctx, base_->store());
}

void announce_adapter(const std::string& folder, Console& console) {
  const lora::PeftConfig config = lora::read_peft_config(folder);
  if (config.unneeded.empty() && config.unknown.empty()) return;
  std::vector<std::string> parts;
  if (!config.unknown.empty()) {
    parts.push_back(fmt::format("unknown and ignored, as PEFT ignores what it does not know: {}",
                                fmt::join(config.unknown, ", ")));
  }
  if (!config.unneeded.empty()) {
    parts.push_back(
        fmt::format("without effect on a finished adapter: {}", fmt::join(config.unneeded, ", ")));
  }
  console.line(
      fmt::format("warning: {}/{}: {}", folder, lora::kPeftConfigFile, fmt::join(parts, "; ")));
}

std::optional<lora::AdapterSet> load_adapter(Context& ctx, const std::optional<std::string>& folder,
                                             const lora::DecoderConfig& model) {
  if (!folder) return std::nullopt;
  lora::AdapterSet adapters = lora::load_peft(*folder, model, ctx.device());
  adapters.to_device(ctx);
  return adapters;
}

DType compute_dtype(const Config& config, Device device) {
  return device.is_cuda() ? compute_dtype_on_gpu(config)
                          : compute_dtype_on_cpu(config, cpu::has_gemm_bf16());
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

std::string_view describe_compute(DType type, Device device) {
  if (device.is_cuda()) return name_of(type);
  if (type == DType::kBF16) return "bfloat16 (AVX512_BF16), summed in float32";
  return type == DType::kF16 ? "float32, weights rounded to float16" : "float32";
}

namespace {

cpu_set_t affinity() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) CPU_SET(0, &set);
  return set;
}

}  // namespace

int thread_count(const std::optional<int64_t>& configured) {
  parallel::SelfCommunicator alone;
  return thread_count(configured, alone);
}

int thread_count(const std::optional<int64_t>& configured, parallel::Communicator& world) {
  const cpu_set_t set = affinity();
  const std::string mask(reinterpret_cast<const char*>(&set), sizeof set);
  const std::string place = fmt::format("{} ", world.node()) + mask;
  const auto sharers = std::ranges::count(gather_texts(world, place), place);
  const auto on_node =
      std::ranges::count(parallel::gather_values(world, world.node()), world.node());
  if (configured) return int(*configured);
  return threads_within(processor_quota("/"), CPU_COUNT(&set) / int(sharers), on_node);
}

}  // namespace tessera::launch
