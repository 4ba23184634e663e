// `tessera train`: the command line of a run (launch/run/train.h).
#include "launch/run/train.h"

#include "launch/commands/arguments.h"
#include "launch/hub/find_model.h"
#include "launch/machine/agreement.h"
#include "launch/machine/processors.h"
#include "launch/machine/ranks.h"
#include "launch/machine/run_status.h"

namespace tessera::launch {

void declare_train(CLI::App* command, int& exit_code) {
  auto arguments = std::make_shared<ConfigArguments>();
  arguments->add_to(command);
  command->footer(
      "\nExample: tessera train run.yml learning_rate=1e-4\n"
      "SIGINT, SIGTERM and SIGUSR1 save a checkpoint and end the run with exit code 3; go on with\n"
      "resume_from_checkpoint=auto. SIGUSR2 shows where the run is.\n\nKeys of the config:\n" +
      config_help());
  command->callback([arguments, &exit_code] {
    require_cpu();
    exit_code = run_on_ranks([&](parallel::Communicator& world) {
      RunStatus status(world);
      Config config = on_all(world, [&] { return arguments->load(kTrainNeeds); });
      const bool json = config.log_format == LogFormat::kJson;
      status.set_json(json);
      Console console(world.rank() == 0, json);
      show_notes(config, console);
      config.model_path = on_all(world, [&] { return find_model(config.base_model, console); });
      note_on_stopping(console);
      return train(config, world);
    });
  });
}

}  // namespace tessera::launch
