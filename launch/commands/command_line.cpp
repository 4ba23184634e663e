#include "launch/commands/command_line.h"

#include <new>

#include "launch/commands/arguments.h"
#include "launch/console/version.h"
#include "runtime/core/nearest.h"

namespace tessera::launch {

void declare_train(CLI::App* command, int& exit_code);
void declare_search(CLI::App* command, int& exit_code);
void declare_plan(CLI::App* command, int& exit_code);
void declare_data(CLI::App* command, int& exit_code);
void declare_eval(CLI::App* command, int& exit_code);
void declare_generate(CLI::App* command, int& exit_code);
void declare_chat(CLI::App* command, int& exit_code);
void declare_report(CLI::App* command, int& exit_code);
void declare_merge(CLI::App* command, int& exit_code);
void declare_quantize(CLI::App* command, int& exit_code);
void declare_export(CLI::App* command, int& exit_code);
void declare_inspect(CLI::App* command, int& exit_code);
void declare_fetch(CLI::App* command, int& exit_code);
void declare_tokenize(CLI::App* command, int& exit_code);
void declare_doctor(CLI::App* command, int& exit_code);
void declare_convert_config(CLI::App* command, int& exit_code);
void declare_completion(CLI::App* command, int& exit_code);
void declare_help(CLI::App* command, int& exit_code);

namespace {

/// To add a command, write launch/commands/NAME.cpp with its declare function and give it a row.
struct Command {
  const char* name;
  const char* summary;
  /// Gives the subcommand its arguments, its help and the callback that runs it. The callback may
  /// set the exit code, which is 0 without it, and throws Error.
  void (*declare)(CLI::App* command, int& exit_code);
};

constexpr Command kCommands[] = {
    {"train", "Fine-tune a model as a YAML file says", declare_train},
    {"search", "Find the rank, and other settings, by validation", declare_search},
    {"plan", "Show what a run takes in memory and time", declare_plan},
    {"data", "Show what a run will train on", declare_data},
    {"eval", "Measure loss and accuracy on the config's data", declare_eval},
    {"generate", "Generate text with a model and an adapter", declare_generate},
    {"chat", "Talk with a model and an adapter", declare_chat},
    {"report", "Show what happened in runs, as a page", declare_report},
    {"merge", "Add an adapter to its base: a model of its own", declare_merge},
    {"quantize", "Store a model in 4 bits, as bitsandbytes does", declare_quantize},
    {"export", "Write a model or an adapter as GGUF, for llama.cpp", declare_export},
    {"inspect", "Show what a model or an adapter is", declare_inspect},
    {"fetch", "Fetch a model or data set of the Hugging Face hub", declare_fetch},
    {"tokenize", "Show the tokens of a text or of conversations", declare_tokenize},
    {"doctor", "Show what this machine has and what is missing", declare_doctor},
    {"convert-config", "Make our config of another trainer's", declare_convert_config},
    {"completion", "Print what a shell needs to complete commands", declare_completion},
    {"help", "Explain a command, or the keys of a config", declare_help},
};

/// CLI11 would only say that an argument was not expected.
void check_command(const CLI::App& app, int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-' || find_command(app, argv[1])) return;
  std::vector<std::string_view> known;
  for (const CLI::App* command : app.get_subcommands({})) known.push_back(command->get_name());
  const std::string_view near = nearest_of(argv[1], known);
  fail_usage("unknown command {}{} (tessera --help shows the commands)", shown(argv[1]),
             near.empty() ? "" : fmt::format("; did you mean '{}'?", near));
}

/// Parses the command line and runs the command. Returns the exit code; throws Error.
int run(int argc, char** argv) {
  CLI::App app("Tessera fine-tunes large language models with QLoRA.", "tessera");
  app.set_version_flag("--version", fmt::format("tessera {}", kVersion));
  app.require_subcommand(0, 1);
  int exit_code = 0;
  for (const Command& command : kCommands) {
    command.declare(app.add_subcommand(command.name, command.summary), exit_code);
  }
  app.footer(
      "\n`tessera COMMAND --help` explains a command, `tessera help config` the keys of a config.");
  check_command(app, argc, argv);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    const auto used = app.get_subcommands();
    fail_usage("{} (tessera {}--help shows what there is)", io::printable(error.what(), 400),
               used.empty() ? "" : used.front()->get_name() + " ");
  }
  if (app.get_subcommands().empty()) write_stdout(app.help());
  return exit_code;
}

}  // namespace

int run_command_line(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const Error& error) {
    print_error(error.what());
    return int(error.fault());
  } catch (const std::bad_alloc&) {
    print_error("out of memory");
    return 1;
  } catch (const std::exception& error) {
    print_error(error.what());
    return 1;
  }
}

}  // namespace tessera::launch
