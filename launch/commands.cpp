#include "launch/commands.h"

#include <CLI/CLI.hpp>
#include <cstdlib>

#include "launch/config.h"
#include "launch/train.h"
#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

/// CONFIG [key=value...]
struct ConfigArguments {
  std::string path;
  std::vector<std::string> overrides;

  void add_to(CLI::App* command) {
    command->add_option("config", path, "YAML file of the run")->required();
    command->add_option("overrides", overrides, "key=value settings that win over the file's");
  }
  Config load() const { return load_config(path, overrides); }
};

void add_train(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand("train", "Fine-tune a model as a YAML file says");
  auto arguments = std::make_shared<ConfigArguments>();
  arguments->add_to(command);
  command->footer("\nKeys of the config:\n" + config_help());
  command->callback([arguments, &exit_code] { exit_code = train(arguments->load()); });
}

}  // namespace

int run_command_line(int argc, char** argv) {
  // Waiting threads must not spin: two of them on one core cost more than they gain.
  setenv("OMP_WAIT_POLICY", "passive", 0);
  CLI::App app("Tessera fine-tunes large language models with QLoRA.");
  app.set_version_flag("--version", "tessera 0.1.0");
  app.require_subcommand(1);
  int exit_code = 0;
  add_train(app, exit_code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    fail_usage("{} (tessera --help shows the commands)", error.what());
  }
  return exit_code;
}

}  // namespace tessera::launch
