#include "launch/run/loaded_model.h"

#include "lora/model/loader.h"
#include "runtime/core/error.h"
#include "runtime/io/folder.h"

namespace tessera::launch {

LoadedModel::LoadedModel(Context& ctx, const lora::Checkpoint& checkpoint,
                         const std::optional<quant::Storage>& quantization,
                         lora::Placement placement, Console& console) {
  for (const std::string& note : checkpoint.notes()) console.line(note);
  base_ = std::make_unique<lora::BaseWeights>(
      ctx, checkpoint.spec(), base_format(quantization, lora::checkpoint_format(checkpoint)),
      placement);
  fingerprint_ =
      lora::load_base(ctx, checkpoint, *base_, placement.world, [&](int64_t done, int64_t total) {
        console.live(fmt::format("loading {}: tensor {}/{}", checkpoint.path(), done, total));
      });
  console.live("");
  scheduler_ = std::make_unique<parallel::LayerScheduler>(ctx, base_->store());
}

lora::PeftFolder open_adapter(const std::string& folder, Console& console) {
  if (!io::is_folder(folder)) fail("there is no adapter folder {}", folder);
  lora::PeftFolder opened = lora::open_peft(folder);
  const lora::PeftConfig& config = opened.config;
  if (config.unneeded.empty() && config.unknown.empty()) return opened;
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
  return opened;
}

std::optional<lora::PeftFolder> open_adapter(const std::optional<std::string>& folder,
                                             Console& console) {
  if (!folder) return std::nullopt;
  return open_adapter(*folder, console);
}

std::optional<lora::AdapterSet> load_adapter(Context& ctx,
                                             const std::optional<lora::PeftFolder>& folder,
                                             const lora::ModelSpec& model) {
  if (!folder) return std::nullopt;
  lora::AdapterSet adapters = lora::load_peft(*folder, model, ctx.device());
  adapters.to_device(ctx);
  return adapters;
}

}  // namespace tessera::launch
