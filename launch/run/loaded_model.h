// A checkpoint's base, loaded in the format asked for: what every command that runs the model
// starts from.
#pragma once

#include <memory>
#include <string>

#include "launch/config/options.h"
#include "launch/console/progress.h"
#include "lora/adapter/peft.h"
#include "lora/decoder/decoder.h"
#include "lora/model/base_weights.h"
#include "lora/model/checkpoint.h"
#include "parallel/layer_scheduler.h"
#include "parallel/sharded_store.h"

namespace tessera::launch {

class LoadedModel {
 public:
  /// Loads, with progress on the console. Collective over the placement's world, which outlives the
  /// model.
  LoadedModel(Context& ctx, const lora::Checkpoint& checkpoint,
              const std::optional<quant::Storage>& quantization, lora::Placement placement,
              Console& console);

  const lora::ModelSpec& spec() const { return base_->spec(); }
  lora::BaseWeights& base() { return *base_; }
  parallel::LayerScheduler& scheduler() { return *scheduler_; }
  /// Hash of every frozen byte.
  uint64_t fingerprint() const { return fingerprint_; }

 private:
  std::unique_ptr<lora::BaseWeights> base_;
  std::unique_ptr<parallel::LayerScheduler> scheduler_;
  uint64_t fingerprint_ = 0;
};

/// Opens an adapter, and says which keys of its config are set in vain. Error as open_peft(). For
/// before the model is loaded, since both are cheap.
lora::PeftFolder open_adapter(const std::string& folder, Console& console);
/// The same; none without a folder.
std::optional<lora::PeftFolder> open_adapter(const std::optional<std::string>& folder,
                                             Console& console);

/// The adapter of a folder, where the context computes; none without a folder. Error as
/// load_peft().
std::optional<lora::AdapterSet> load_adapter(Context& ctx,
                                             const std::optional<lora::PeftFolder>& folder,
                                             const lora::ModelSpec& model);

}  // namespace tessera::launch
