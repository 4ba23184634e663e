// For tests: a model in memory, with an adapter if wanted, ready to compute.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "launch/config/options.h"
#include "launch/run/loaded_model.h"
#include "lora/adapter/peft.h"
#include "parallel/self_communicator.h"

namespace tessera::testing {

class TestModel {
 public:
  explicit TestModel(const std::string& path,
                     const std::optional<quant::Storage>& quantization = std::nullopt,
                     const std::optional<std::string>& adapter = std::nullopt,
                     Device device = Device::cpu())
      : ctx_(device, 2, 1),
        model_(ctx_, lora::Checkpoint::open(path), quantization, {alone_, {}}, console_) {
    if (adapter) {
      adapters_ = lora::load_peft(lora::open_peft(*adapter), model_.spec(), device);
      adapters_->to_device(ctx_);
    }
    decoder_ = std::make_unique<lora::Decoder>(ctx_, model_.base(), model_.scheduler(),
                                               adapters_ ? &*adapters_ : nullptr);
  }

  lora::Decoder& decoder() { return *decoder_; }
  lora::AdapterSet& adapters() { return *adapters_; }
  const lora::ModelSpec& spec() const { return model_.spec(); }

 private:
  launch::Console console_;
  Context ctx_;
  parallel::SelfCommunicator alone_;
  launch::LoadedModel model_;
  std::optional<lora::AdapterSet> adapters_;
  std::unique_ptr<lora::Decoder> decoder_;
};

}  // namespace tessera::testing
