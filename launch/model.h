// A checkpoint opened and its base loaded in the format asked for: what every command that runs the
// model starts from.
#pragma once

#include <memory>
#include <string>

#include "launch/config.h"
#include "launch/progress.h"
#include "lora/decoder/base_weights.h"
#include "lora/decoder/checkpoint.h"
#include "lora/decoder/decoder.h"
#include "parallel/layer_scheduler.h"
#include "parallel/sharded_store.h"

namespace tessera::launch {

/// Which format the layers' linears are held in.
struct BaseChoice {
  bool quantize = true;  // false: as the checkpoint has them
  quant::Format format = quant::Format::kNf4;
  int block = 64;
  bool double_quant = true;

  static BaseChoice of(const Config& config);
  /// The format of a base whose checkpoint is stored as `stored`.
  lora::BaseFormat apply(lora::BaseFormat stored) const;
  std::string describe() const;  // "NF4, double-quantized, blocks of 64"
};

class LoadedModel {
 public:
  /// Opens and loads, with progress on the console. `path`: a Hugging Face folder or a .gguf file.
  /// Collective over `world`, which outlives the model.
  LoadedModel(Context& ctx, const std::string& path, const BaseChoice& choice,
              lora::Placement placement, Console& console);

  const lora::DecoderConfig& config() const { return checkpoint_.config(); }
  const lora::Checkpoint& checkpoint() const { return checkpoint_; }
  lora::BaseWeights& base() const { return *base_; }
  parallel::LayerScheduler& scheduler() const { return *scheduler_; }
  /// Hash of every frozen byte.
  uint64_t fingerprint() const { return fingerprint_; }

 private:
  lora::Checkpoint checkpoint_;
  std::unique_ptr<lora::BaseWeights> base_;
  std::unique_ptr<parallel::LayerScheduler> scheduler_;
  uint64_t fingerprint_ = 0;
};

/// Reads the config of an adapter, and says which of its keys are set in vain. Error as
/// read_peft_config(). For before the model is loaded, since both are cheap.
void announce_adapter(const std::string& folder, Console& console);

/// The adapter of a folder, where the context computes; none without a folder. Error as
/// load_peft().
std::optional<lora::AdapterSet> load_adapter(Context& ctx, const std::optional<std::string>& folder,
                                             const lora::DecoderConfig& model);

/// What products with the base are computed in: as configured, for auto float32 on the CPU and
/// bfloat16 on a GPU. Error (usage) on bfloat16 on a CPU that does not have it.
DType compute_dtype(const Config& config, Device device);
/// The same on a CPU of which is known whether it has bfloat16 products.
DType compute_dtype_on_cpu(const Config& config, bool bf16_products);
/// The same on a GPU: bfloat16 for auto.
DType compute_dtype_on_gpu(const Config& config);
/// "bfloat16 (AVX512_BF16), summed in float32".
std::string_view describe_compute(DType type, Device device);

/// CPU threads to use: as configured, or every core of this process's affinity mask, as far as its
/// container's quota goes.
int thread_count(const std::optional<int64_t>& configured);
/// The same, the cores shared out among the ranks of this node that have the same mask, and the
/// quota among all ranks of this node. Collective.
int thread_count(const std::optional<int64_t>& configured, parallel::Communicator& world);

}  // namespace tessera::launch
