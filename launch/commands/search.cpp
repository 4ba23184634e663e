// `tessera search`: the command line of launch/run/search.h.
#include "launch/run/search.h"

#include "launch/commands/arguments.h"
#include "launch/hub/find_model.h"
#include "launch/machine/agreement.h"
#include "launch/machine/processors.h"
#include "launch/machine/ranks.h"
#include "launch/machine/run_status.h"

namespace tessera::launch {

void declare_search(CLI::App* command, int& exit_code) {
  auto arguments = std::make_shared<ConfigArguments>();
  arguments->add_to(command);
  command->footer(
      "\nTrains a candidate for each of search_ranks for the first search_steps of the run, all on "
      "the\nsame data in the same order, and measures their losses on the rows to validate on. The "
      "smallest\nwhose loss is within search_tolerance of the best is chosen, and its run goes on "
      "to the end:\noutput_dir holds it as `tessera train` would. A key such as learning_rate may "
      "have a list of\nvalues, too: candidates are all combinations. Prints a table; "
      "output_dir/search/ has it as\nsearch.json and report.html.\n\n"
      "A search that was stopped or killed goes on with resume_from_checkpoint=auto. Under mpirun "
      "each\ncandidate trains over all ranks.\n\n"
      "Example: tessera search run.yml 'search_ranks=[4, 8, 16]' val_set_size=0.1");
  command->callback([arguments, &exit_code] {
    require_cpu();
    exit_code = run_on_ranks([&](parallel::Communicator& world) {
      RunStatus status(world);
      SearchConfig config =
          on_all(world, [&] { return load_search(arguments->path, arguments->overrides); });
      const Config& first = config.candidates.front().config;
      const bool json = first.log_format == LogFormat::kJson;
      status.set_json(json);
      Console console(world.rank() == 0, json);
      show_notes(first, console);
      const std::string model =
          on_all(world, [&] { return find_model(first.base_model, console); });
      for (Candidate& candidate : config.candidates) candidate.config.model_path = model;
      note_on_stopping(console);
      return search(config, world);
    });
  });
}

}  // namespace tessera::launch
