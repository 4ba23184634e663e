// What a config says to the folders that do the work: its choices in their types.
#pragma once

#include "launch/config/config.h"
#include "lora/adapter/adapter.h"
#include "lora/model/base_weights.h"
#include "optim/rule.h"
#include "optim/schedule.h"
#include "optim/state_pages.h"

namespace tessera::launch {

lora::AdapterOptions adapter_options(const Config& config);

/// The row of the table with the config's settings.
lora::Loss make_loss(const Config& config);

optim::LrSchedule make_schedule(const Config& config, int64_t total_steps);

optim::OptimizerOptions optimizer_options(const Config& config);
/// What of the optimizer's state stays resident, and where the rest lives.
optim::PageOptions page_options(const Config& config, Device device);

/// How the layers' linears are held; nothing: as the checkpoint has them.
std::optional<quant::Storage> quantization(const Config& config);
/// The config for a base whose checkpoint is stored as `stored`, with a format for auto: that of a
/// checkpoint which is quantized already, else the default. Error (usage) naming a key that asks
/// for another format than a quantized checkpoint's.
Config with_stored_format(Config config, const lora::BaseFormat& stored);
/// The format in memory of a base whose checkpoint is stored as `stored`. One that is quantized
/// already stays as it is.
lora::BaseFormat base_format(const std::optional<quant::Storage>& quantization,
                             lora::BaseFormat stored);
/// "NF4, double-quantized, blocks of 64", or "as stored".
std::string describe(const std::optional<quant::Storage>& quantization);

/// What products with the base are computed in: as configured, for auto float32 on the CPU and
/// bfloat16 on a GPU. Error (usage) on bfloat16 on a CPU that does not have it.
DType compute_dtype(const Config& config, Device device);
/// The same on a CPU of which is known whether it has bfloat16 products.
DType compute_dtype_on_cpu(const Config& config, bool bf16_products);
/// The same on a GPU: bfloat16 for auto.
DType compute_dtype_on_gpu(const Config& config);
/// Micro-batches of a full step, over all ranks.
int64_t micro_batches_per_step(const Config& config, int ranks);

}  // namespace tessera::launch
