#include "launch/run/answering_model.h"

#include <algorithm>
#include <filesystem>

#include "launch/config/options.h"
#include "launch/machine/device.h"
#include "launch/machine/processors.h"
#include "lora/model/loader.h"
#include "runtime/core/error.h"
#include "runtime/io/hash.h"

namespace tessera::launch {
namespace {

/// What the adapter's run or the user says of the base.
Config config_of(const ModelChoice& choice) {
  Config base = base_config(choice.adapter, choice.base_settings);
  base.base_model = choice.base_model;
  return base;
}

template <class Notes>
void print(const Notes& notes, Console& console) {
  for (const std::string& note : notes) console.line(note);
}

}  // namespace

OpenedModel::OpenedModel(const ModelChoice& choice, Console& console)
    : choice_(choice),
      base_(config_of(choice)),
      device_(choose_device(base_.device, console)),
      compute_(compute_dtype(base_, device_)),
      adapter_(open_adapter(choice.adapter, console)),
      checkpoint_(lora::Checkpoint::open(choice.base_model)),
      tokenizer_(Tokenizer::load(choice.base_model)),
      generation_(read_generation_config(choice.base_model)) {
  print(tokenizer_.notes(), console);
  print(generation_.notes, console);
  if (choice.adapter) run_ = AdapterRun::of(*choice.adapter, {});
  // Where nothing says how the base is held, it is as stored.
  const bool said = std::ranges::any_of(choice.base_settings, [](const std::string& setting) {
    return setting.starts_with("load_in_4bit=");
  });
  const lora::BaseFormat stored = lora::checkpoint_format(checkpoint_);
  if (said || base_.adapter == AdapterKind::kQlora) base_ = with_stored_format(base_, stored);
  if (!run_) return;
  const std::string warning = other_base_warning(*run_, choice.base_model, stored);
  if (!warning.empty()) console.line(warning);
}

ChatTemplate OpenedModel::chat_template() const {
  const Config config = run_ && run_->base ? *run_->base : Config{};
  return ChatTemplate::resolve(choice_.chat_template.value_or(config.chat_template), tokenizer_,
                               config.chat_template_kwargs);
}

std::vector<int32_t> OpenedModel::stop_ids(const ChatTemplate* chat, Console& console) const {
  const std::vector<StopToken> stops = stop_tokens(checkpoint_, generation_, tokenizer_, chat);
  print(missing_stops(stops, checkpoint_.spec().vocab), console);
  std::vector<int32_t> ids;
  for (const StopToken& stop : stops) ids.push_back(stop.id);
  std::ranges::sort(ids);
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

AnsweringModel::AnsweringModel(const OpenedModel& opened, uint64_t seed, Console& console)
    : opened_(opened), ctx_(opened.device(), thread_count(opened.choice().threads), seed) {
  ctx_.set_compute_dtype(opened.compute());
  model_ = std::make_unique<LoadedModel>(ctx_, opened.checkpoint(), opened.base_storage(),
                                         lora::Placement{alone_, {}}, console);
  adapters_ = load_adapter(ctx_, opened.adapter(), model_->spec());
  use_adapter(adapters_.has_value());
}

void AnsweringModel::use_adapter(bool on) {
  TESSERA_CHECK(!on || adapters_);
  uses_adapter_ = on;
  decoder_.emplace(ctx_, model_->base(), model_->scheduler(), on ? &*adapters_ : nullptr);
}

uint64_t AnsweringModel::fingerprint() const {
  std::string all = fmt::format("{:016x} {} {}", model_->fingerprint(), name_of(opened_.compute()),
                                opened_.checkpoint().config());
  if (uses_adapter_) {
    const std::filesystem::path folder = opened_.adapter()->path;
    all += io::hash_file((folder / lora::kPeftConfigFile).string());
    all += io::hash_file(lora::peft_weights(folder.string()));
  }
  return io::hash_bytes(std::as_bytes(std::span(all)), 0);
}

}  // namespace tessera::launch
