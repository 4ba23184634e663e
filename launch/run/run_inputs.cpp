#include "launch/run/run_inputs.h"

#include "launch/machine/agreement.h"
#include "launch/run/generator.h"
#include "lora/model/loader.h"

namespace tessera::launch {
namespace {

/// Looks at what is cheap to find wrong, too, before the data are read.
lora::Checkpoint open_base(const Config& config, Console& console) {
  lora::Checkpoint checkpoint = lora::Checkpoint::open(config.base_model);
  lora::select_linears(adapter_options(config).targets, checkpoint.spec());
  with_stored_format(config, lora::checkpoint_format(checkpoint));
  const auto name_dropout = [&](const char* key, double dropout) {
    if (dropout == 0) return;
    console.line(fmt::format("warning: {}/config.json: {} {} is not applied", config.base_model,
                             key, dropout));
  };
  name_dropout("attention_dropout", checkpoint.spec().attention_dropout);
  name_dropout("residual_dropout", checkpoint.spec().residual_dropout);
  for (const std::string& line : missing_stops(stop_tokens(checkpoint), checkpoint.spec().vocab)) {
    console.line(line);
  }
  return checkpoint;
}

}  // namespace

RunInputs::RunInputs(const Config& config, std::optional<lora::PeftFolder> opened,
                     parallel::Communicator& world, Console& console)
    : checkpoint(on_all(world, [&] { return open_base(config, console); })),
      start(std::move(opened)),
      data(on_all(world,
                  [&] { return RunData(config, checkpoint.spec().vocab, world.size(), console); })),
      steps(data.training, data.options, config.num_epochs, config.max_steps.value_or(0)) {}

}  // namespace tessera::launch
