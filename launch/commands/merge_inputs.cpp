#include "launch/commands/merge_inputs.h"

#include "launch/config/options.h"
#include "launch/run/adapter_run.h"
#include "launch/run/loaded_model.h"
#include "lora/adapter/peft.h"
#include "lora/model/loader.h"
#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

/// How the base was quantized that the adapter is added to, by what is asked for and what the run
/// was; nothing: it is added to the original.
std::optional<quant::Storage> base_of(const MergeOptions& options, const AdapterRun& run) {
  std::optional<quant::Storage> base;
  const bool original = options.into == MergeInto::kOriginal || options.into_nf4;
  if (run.base && !original) base = quantization(*run.base);
  if (options.into == MergeInto::kDequantized && !base) {
    fail_usage(
        "--merge_into dequantized needs the config.resolved.yml of a 4-bit run beside the adapter "
        "{}; use --merge_into original",
        options.adapter);
  }
  return base;
}

/// Error where the options, or the adapter's run, ask for another base than a quantized checkpoint,
/// whose weights are added to as they decode.
void check_quantized_base(const MergeOptions& options, const AdapterRun& run,
                          const lora::BaseFormat& stored) {
  if (options.into == MergeInto::kOriginal) {
    fail_usage(
        "--merge_into original needs the original weights, but {} is stored as {}; give the "
        "original checkpoint as --base_model",
        options.base_model, quant::describe(stored.linear));
  }
  if (!run.base || run.base->adapter == AdapterKind::kLora) return;
  Config config = *run.base;
  config.base_model = options.base_model;
  with_stored_format(config, stored);
}

}  // namespace

std::string name_of(MergeInto into) {
  switch (into) {
    case MergeInto::kDequantized:
      return "dequantized";
    case MergeInto::kOriginal:
      return "original";
  }
  return "";
}

bool MergeInputs::unties_head() const {
  return checkpoint.spec().tied_head && !adapters.parts().whole.empty() && !adapters.ties_head();
}

MergeInputs open_merge(const MergeOptions& options, Console& console) {
  if (options.adapter.empty()) {
    lora::Checkpoint checkpoint = lora::Checkpoint::open(options.base_model);
    for (const std::string& note : checkpoint.notes()) console.line(note);
    lora::AdapterSet none(checkpoint.spec(), {}, lora::TrainedParts{}, Device::cpu());
    return {std::move(checkpoint), std::move(none), MergeInto::kOriginal, std::nullopt};
  }
  const AdapterRun run = AdapterRun::of(options.adapter, {});
  if (!run.finished && !options.partial) {
    fail_usage(
        "the run of the adapter {} is not finished; go on with resume_from_checkpoint=auto, or "
        "merge what there is with --partial",
        options.adapter);
  }
  std::optional<quant::Storage> base = base_of(options, run);
  std::optional<quant::Storage> trained_over =
      run.base ? quantization(*run.base) : std::optional<quant::Storage>();
  const lora::PeftFolder adapter = open_adapter(options.adapter, console);
  lora::Checkpoint checkpoint = lora::Checkpoint::open(options.base_model);
  lora::AdapterSet adapters = lora::load_peft(adapter, checkpoint.spec());
  MergeInto into = base ? MergeInto::kDequantized : MergeInto::kOriginal;
  if (const lora::BaseFormat stored = lora::checkpoint_format(checkpoint);
      !stored.linear.format->dtype) {
    check_quantized_base(options, run, stored);
    const std::string warning = other_base_warning(run, options.base_model, stored);
    if (!warning.empty()) console.line(warning);
    into = MergeInto::kDequantized;
    base.reset();
    trained_over.reset();
  }
  for (const std::string& note : checkpoint.notes()) console.line(note);
  return {std::move(checkpoint), std::move(adapters), into, base, trained_over};
}

}  // namespace tessera::launch
