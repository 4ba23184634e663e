// `tessera train`: the command line of a run (launch/run/train.h).
#include "launch/run/train.h"

#include <atomic>

#include "launch/commands/arguments.h"
#include "launch/console/json_event.h"
#include "launch/hub/find_model.h"
#include "launch/machine/agreement.h"
#include "launch/machine/processors.h"
#include "launch/machine/ranks.h"
#include "launch/machine/signals.h"

namespace tessera::launch {
namespace {

/// What SIGUSR2 shows.
std::string describe_status(const parallel::Communicator& world, const Stopwatch& running) {
  const parallel::Communicator::Phase phase = world.phase();
  const std::chrono::duration<double> in_phase = std::chrono::steady_clock::now() - phase.since;
  return fmt::format("status   rank {} of {}: {}, for {:.1f} s; running for {}", world.rank(),
                     world.size(), phase.text, in_phase.count(),
                     format_duration(running.seconds()));
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
      const Stopwatch running;
      std::atomic<bool> json = false;  // another thread answers
      const StatusSignal status([&] {
        const std::string text = describe_status(world, running);
        return json ? json_event("message", {{"text", text}}) : text;
      });
      Config config = on_all(world, [&] { return arguments->load(kTrainNeeds); });
      json = config.log_format == LogFormat::kJson;
      Console console(world.rank() == 0, json);
      show_notes(config, console);
      config.model_path = on_all(world, [&] { return find_model(config.base_model, console); });
      note_on_stopping(console);
      return train(config, world);
    });
  });
}

}  // namespace tessera::launch
