// `tessera convert-config`: a config of another trainer as one of ours.
#include "launch/commands/arguments.h"
#include "launch/config/conversion.h"
#include "launch/config/settings.h"
#include "runtime/io/file.h"
#include "runtime/io/folder.h"

namespace tessera::launch {

namespace {

struct ConvertOptions {
  std::string config;
  std::string output;
};

/// 1 where something was lost, which stderr then names; the result is there all the same.
int convert(const ConvertOptions& options) {
  if (!options.output.empty() && io::exists(options.output)) {
    fail_usage("{} is there already; remove it, or choose another --output", options.output);
  }
  const Conversion made = convert_config(read_config_text(options.config), options.config);
  if (options.output.empty()) {
    write_stdout(made.text);
  } else {
    io::write_file(options.output, made.text);
    write_stdout(fmt::format("{}\n", options.output));
  }
  for (const std::string& line : made.lost) print_error(line);
  return made.lost.empty() ? 0 : 1;
}

}  // namespace

void declare_convert_config(CLI::App* command, int& exit_code) {
  auto options = std::make_shared<ConvertOptions>();
  add_path(command, "config", options->config,
           "YAML file for axolotl, LLaMA-Factory, TRL or the Trainer of transformers")
      ->required();
  add_path(command, "--output", options->output, "Where to write ours; default: stdout")
      ->type_name("FILE");
  command->footer(
      "\nExample: tessera convert-config axolotl.yml --output run.yml\n"
      "`tessera train` takes the file itself, too. The result has each key with its origin, and, "
      "as\n"
      "comments, the keys that are not needed and what could not be carried over. Exit code 1: "
      "what\n"
      "was lost would change the result.");
  command->callback([options, &exit_code] { exit_code = convert(*options); });
}

}  // namespace tessera::launch
