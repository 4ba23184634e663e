// A model that answers: a base with or without an adapter, and what belongs to them, which is a
// tokenizer, a chat template and the tokens that end an answer. What is cheap to find wrong is read
// first, then the weights.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "launch/config/config.h"
#include "launch/console/progress.h"
#include "launch/run/adapter_run.h"
#include "launch/run/generation_config.h"
#include "launch/run/loaded_model.h"
#include "launch/text/chat_template.h"
#include "launch/text/tokenizer/tokenizer.h"
#include "lora/adapter/peft.h"
#include "lora/decoder/decoder.h"
#include "lora/model/checkpoint.h"
#include "parallel/self_communicator.h"

namespace tessera::launch {

/// What a user says of the model.
struct ModelChoice {
  std::string base_model;
  std::optional<std::string> adapter;
  std::vector<std::string> base_settings;    // as base_config() takes them
  std::optional<std::string> chat_template;  // empty: that of the adapter's run
  std::optional<int64_t> threads;
};

/// All but the weights.
class OpenedModel {
 public:
  /// Notes for the user go to the console. Error where something is missing or damaged.
  OpenedModel(const ModelChoice& choice, Console& console);

  const ModelChoice& choice() const { return choice_; }
  const Tokenizer& tokenizer() const { return tokenizer_; }
  const lora::Checkpoint& checkpoint() const { return checkpoint_; }
  const std::optional<lora::PeftFolder>& adapter() const { return adapter_; }
  Device device() const { return device_; }
  DType compute() const { return compute_; }
  std::optional<quant::Storage> base_storage() const { return quantization(base_); }

  /// The adapter's run says how conversations become text, unless the user does.
  ChatTemplate chat_template() const;
  /// Where answers end. A warning for each token that the model lacks goes to the console.
  std::vector<int32_t> stop_ids(const ChatTemplate* chat, Console& console) const;

 private:
  ModelChoice choice_;
  Config base_;
  Device device_;
  DType compute_;
  std::optional<lora::PeftFolder> adapter_;
  lora::Checkpoint checkpoint_;  // first: it says best what a path that is no model lacks
  Tokenizer tokenizer_;
  GenerationConfig generation_;
  std::optional<AdapterRun> run_;
};

/// The weights, where the device computes.
class AnsweringModel {
 public:
  AnsweringModel(const OpenedModel& opened, uint64_t seed, Console& console);

  /// Over the base and the adapter, if there is one.
  lora::Decoder& decoder() { return *decoder_; }
  bool uses_adapter() const { return uses_adapter_; }
  /// Makes decoder() one with the adapter, or over the base alone. What refers to the one before
  /// must be gone.
  void use_adapter(bool on);
  /// Names the weights, what they are computed in, and all else that the next token follows from.
  uint64_t fingerprint() const;

 private:
  const OpenedModel& opened_;
  parallel::SelfCommunicator alone_;
  Context ctx_;
  std::unique_ptr<LoadedModel> model_;
  std::optional<lora::AdapterSet> adapters_;
  std::optional<lora::Decoder> decoder_;
  bool uses_adapter_ = false;
};

}  // namespace tessera::launch
