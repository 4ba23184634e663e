#include "launch/commands/data.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "launch/commands/arguments.h"
#include "launch/hub/find_model.h"
#include "launch/machine/processors.h"
#include "launch/machine/ranks.h"
#include "launch/report/data_html.h"
#include "launch/report/data_json.h"
#include "launch/report/html.h"
#include "lora/model/checkpoint.h"
#include "lora/model/families.h"
#include "runtime/io/file.h"
#include "runtime/io/folder.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMostSamples = 1000;

/// Nothing where there is none: rows that are tokenized already need no tokenizer, and RunData has
/// told where others do.
std::optional<Tokenizer> load_tokenizer(const std::string& model) {
  try {
    return Tokenizer::load(model);
  } catch (const Error&) {
    return std::nullopt;
  }
}

bool holds_gguf(const std::string& folder) {
  return std::ranges::any_of(io::names_in(folder),
                             [](const std::string& name) { return name.ends_with(".gguf"); });
}

/// The number of ids that the model has, from its config or its header; of a tokenizer alone, from
/// that.
int64_t vocab_of(const std::string& model) {
  const fs::path config = fs::path(model) / "config.json";
  const bool folder = io::is_folder(model);
  if (folder && io::exists(config)) {
    return lora::parse_config(io::read_file(config.string(), size_t{1} << 20), config.string())
        .vocab;
  }
  if (folder ? !holds_gguf(model) : model.ends_with(".json")) {
    return Tokenizer::load(model).vocab_size();
  }
  return lora::Checkpoint::open(model).spec().vocab;
}

}  // namespace

DataOutput show_data(const Config& config, const DataOptions& options, Console& console) {
  const RunData data(config, vocab_of(config.model()), options.ranks, thread_count(config.threads),
                     console);
  for (const std::string& note : data.notes) console.line(note);
  const std::optional<Tokenizer> tokenizer = load_tokenizer(config.model());
  const DataSummary summary =
      summarize(config, data, options.ranks, options.samples, tokenizer ? &*tokenizer : nullptr);
  if (options.html) write_page(*options.html, data_html(summary));
  return {options.json ? data_json(summary) : data_text(summary, options.text),
          summary.lost_rows()};
}

DataTextOptions text_options_of_stdout() {
  DataTextOptions options;
  if (isatty(STDOUT_FILENO) != 1) return options;
  const char* no_colour = std::getenv("NO_COLOR");
  options.colour = !no_colour || !*no_colour;
  winsize size = {};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    options.columns = std::clamp<size_t>(size.ws_col, 60, 100);
  }
  return options;
}

void declare_data(CLI::App* command, int& exit_code) {
  auto arguments = std::make_shared<ConfigArguments>();
  auto options = std::make_shared<DataOptions>();
  auto fail_on_drop = std::make_shared<bool>(false);
  arguments->add_to(command);
  CLI::Option* count = add_number(command, "--samples", options->samples.count,
                                  IntType{0, kMostSamples}, "Samples to show, spread evenly")
                           ->type_name("N");
  add_number(command, "--sample", options->samples.number, IntType{1, INT32_MAX},
             "Show the sample of this number instead")
      ->type_name("I")
      ->excludes(count);
  add_number(command, "--lost", options->text.lost_rows, IntType{0, INT32_MAX},
             "Dropped or cut rows to name")
      ->type_name("N");
  add_number(command, "--ranks", options->ranks, IntType{1, 1 << 16}, "Ranks that share the run")
      ->type_name("N");
  command->add_flag("--tokens", options->text.tokens, "Show the samples token by token");
  command->add_flag("--json", options->json, "As one JSON object");
  add_path(command, "--html", options->html, "Write a page with all of it, too")->type_name("FILE");
  command->add_flag("--fail-on-drop,--fail_on_drop", *fail_on_drop,
                    "End with exit code 1 if a row is dropped or cut");
  command->footer(
      "\nReads and tokenizes the data sets as a run does: rows, lengths, packing, what is dropped "
      "and\nwhy, and samples with what is learned of them. The first run after it finds the tokens "
      "of large\ndata sets ready. It needs base_model and datasets, and of the model the tokenizer "
      "alone.\n\nExample: tessera data run.yml --samples 5 sequence_len=4096");
  command->callback([arguments, options, fail_on_drop, &exit_code] {
    require_alone("data");
    DataTextOptions look = text_options_of_stdout();
    options->text.columns = look.columns;
    options->text.colour = look.colour;
    Console console;
    Config config = arguments->load(kEvalNeeds);
    show_notes(config, console);
    config.model_path = find_model_without_weights(config.base_model, console);
    const DataOutput output = show_data(config, *options, console);
    write_stdout(output.text);
    if (*fail_on_drop && output.lost_rows > 0) {
      print_error(fmt::format("{} row{} dropped or cut", format_count(output.lost_rows),
                              output.lost_rows == 1 ? " is" : "s are"));
      exit_code = 1;
    }
  });
}

}  // namespace tessera::launch
