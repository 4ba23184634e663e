// `tessera train`: the command line of a run (launch/run/train.h).
#include "launch/run/train.h"
#include "launch/commands/arguments.h"
#include "launch/hub/find_model.h"
#include "launch/machine/agreement.h"
#include "launch/machine/processors.h"
#include "launch/machine/ranks.h"
#include "launch/machine/signals.h"

namespace tessera::launch {
namespace {

/// What SIGUSR2 shows.
std::string describe_status(const parallel::Communicator& world,
                            std::chrono::steady_clock::time_point started) {
  const auto seconds_since = [](std::chrono::steady_clock::time_point then) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - then).count();
  };
  const parallel::Communicator::Phase phase = world.phase();
  return fmt::format("status   rank {} of {}: {}, for {:.1f} s; running for {}", world.rank(),
                     world.size(), phase.text, seconds_since(phase.since),
                     format_duration(seconds_since(started)));
}

}  // namespace

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
      const auto started = std::chrono::steady_clock::now();
      const StatusSignal status([&] { return describe_status(world, started); });
      Config config = on_all(world, [&] { return arguments->load(kTrainNeeds); });
      Console console(world.rank() == 0);
      show_notes(config, console);
      config.model_path = on_all(world, [&] { return find_model(config.base_model, console); });
      note_on_stopping(console);
      return train(config, world);
    });
  });
}

}  // namespace tessera::launch
