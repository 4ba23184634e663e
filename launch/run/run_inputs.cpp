#include "launch/run/run_inputs.h"

#include "launch/machine/agreement.h"
#include "launch/machine/processors.h"
#include "launch/run/generator.h"
#include "lora/model/loader.h"

namespace tessera::launch {
namespace {

/// Looks at what is cheap to find wrong, too, before the data are read.
lora::Checkpoint open_base(const Config& config, Console& console) {
  lora::Checkpoint checkpoint = lora::Checkpoint::open(config.model());
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

RunData read_data(const Config& config, const lora::Checkpoint& base, parallel::Communicator& world,
                  Console& console) {
  const int threads = thread_count(config.threads, world);
  return on_all(world,
                [&] { return RunData(config, base.spec().vocab, world.size(), threads, console); });
}

}  // namespace

RunInputs::RunInputs(const Config& config, std::optional<lora::PeftFolder> opened,
                     parallel::Communicator& world, Console& console)
    : checkpoint(on_all(world, [&] { return open_base(config, console); })),
      start(std::move(opened)),
      data(read_data(config, checkpoint, world, console)),
      steps(data.training, data.options, config.num_epochs, config.max_steps.value_or(0)),
      samples(on_all(world, [&] { return TrainingSamples(config, checkpoint); })) {
  data.print_notes(console);
}

}  // namespace tessera::launch
