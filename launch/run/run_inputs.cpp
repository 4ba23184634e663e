#include "launch/run/run_inputs.h"

#include "launch/machine/agreement.h"
#include "launch/run/checkpoint.h"
#include "launch/run/loaded_model.h"

namespace tessera::launch {
namespace {

/// Opens the base, and looks at what is cheap to find wrong before the data are read.
lora::Checkpoint open_base(const Config& config, Console& console) {
  lora::Checkpoint checkpoint = lora::Checkpoint::open(config.base_model);
  lora::select_linears(adapter_options(config).targets, checkpoint.spec());
  if (config.lora_model_dir) announce_adapter(*config.lora_model_dir, console);
  return checkpoint;
}

}  // namespace

RunInputs::RunInputs(const Config& config, parallel::Communicator& world, Console& console)
    : checkpoint(on_all(world, [&] { return open_base(config, console); })),
      data(on_all(world,
                  [&] { return RunData(config, checkpoint.spec().vocab, world.size(), console); })),
      steps(data.training, data.options, config.num_epochs, config.max_steps.value_or(0)) {}

}  // namespace tessera::launch
