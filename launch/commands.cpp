#include "launch/commands.h"

#include <CLI/CLI.hpp>

#include "launch/agreement.h"
#include "launch/config.h"
#include "launch/doctor.h"
#include "launch/evaluate.h"
#include "launch/flags.h"
#include "launch/generate.h"
#include "launch/merge.h"
#include "launch/model.h"
#include "launch/plan_command.h"
#include "launch/ranks.h"
#include "launch/tokenize.h"
#include "launch/train.h"
#include "launch/user_path.h"
#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

/// An option or argument that takes a path.
template <class Text>
CLI::Option* add_path(CLI::App* command, const std::string& name, Text& value,
                      const std::string& help) {
  const auto read = [](std::string& text) {
    const UserPath path = read_user_path(text);
    text = path.path;
    return path.fault;
  };
  return command->add_option(name, value, help)->transform(CLI::Validator(read, ""));
}

/// CONFIG [key=value...]
struct ConfigArguments {
  std::string path;
  std::vector<std::string> overrides;

  void add_to(CLI::App* command) {
    add_path(command, "config", path, "YAML file of the run")->required();
    command->add_option("overrides", overrides, "key=value settings that win over the file's");
  }
  Config load(Keys needed) const { return load_config(path, overrides, needed); }
};

/// Options shared by the commands that load a model.
template <class Options>
void add_model_options(CLI::App* command, Options& options) {
  add_path(command, "--base_model", options.base_model,
           "Model: a Hugging Face folder or a .gguf file")
      ->required()
      ->type_name("PATH");
  command->add_option("--threads", options.threads, "CPU threads; default: every core")
      ->check(CLI::Range(1, 4096))
      ->type_name("N");
}

void add_train(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand("train", "Fine-tune a model as a YAML file says");
  auto arguments = std::make_shared<ConfigArguments>();
  arguments->add_to(command);
  command->footer(
      "\nExample: tessera train run.yml learning_rate=1e-4\n"
      "SIGINT, SIGTERM and SIGUSR1 save a checkpoint and end the run with exit code 3; go on with\n"
      "resume_from_checkpoint=auto.\n\nKeys of the config:\n" +
      config_help());
  command->callback([arguments, &exit_code] {
    require_cpu();
    exit_code = run_on_ranks([&](parallel::Communicator& world) {
      const Config config = on_all(world, [&] { return arguments->load(kTrainNeeds); });
      Console console(world.rank() == 0);
      note_on_stopping(console);
      return train(config, world);
    });
  });
}

/// Takes adapter=PATH or adapter=none out of `overrides`; adapter=qlora and adapter=lora stay, the
/// config key of the same name.
std::optional<std::string> take_adapter(std::vector<std::string>& overrides) {
  std::optional<std::string> adapter;
  const auto is_path = [](const std::string& text) {
    return text.starts_with("adapter=") && text != "adapter=qlora" && text != "adapter=lora";
  };
  for (auto it = overrides.begin(); it != overrides.end();) {
    if (!is_path(*it)) {
      ++it;
      continue;
    }
    if (adapter) fail_usage("command line: adapter= is given twice; keep one");
    adapter = it->substr(it->find('=') + 1);
    if (adapter->empty()) fail_usage("command line: adapter= needs a folder, or none");
    const UserPath path = read_user_path(*adapter);
    if (!path.fault.empty()) fail_usage("command line: adapter=: {}", path.fault);
    adapter = path.path;
    it = overrides.erase(it);
  }
  return adapter;
}

void add_eval(CLI::App& app) {
  auto* command = app.add_subcommand("eval", "Measure loss and perplexity on the config's data");
  auto arguments = std::make_shared<ConfigArguments>();
  arguments->add_to(command);
  command->footer(
      "\nPrints {\"loss\", \"perplexity\", \"tokens\"} as JSON: over the held-out rows where "
      "val_set_size is\nset, else over all rows. The adapter is the one in output_dir if there is "
      "one; adapter=PATH\nnames another, adapter=none measures the base model alone.\n\n"
      "Example: tessera eval run.yml adapter=none");
  command->callback([arguments] {
    require_cpu();
    require_alone("eval");
    const auto adapter = take_adapter(arguments->overrides);
    Console console;
    write_stdout(to_json(evaluate(arguments->load(kEvalNeeds), adapter, console)) + "\n");
  });
}

void add_sampling_options(CLI::App* command, SamplerOptions& sampler) {
  command
      ->add_option("--temperature", sampler.temperature,
                   "0: always the most likely token; 1: as the model has learned")
      ->capture_default_str()
      ->type_name("X");
  command
      ->add_option("--top_p", sampler.top_p,
                   "Draw from the fewest likely tokens with this probability together")
      ->capture_default_str()
      ->type_name("X");
  command->add_option("--top_k", sampler.top_k, "Draw from the k most likely tokens; 0: all")
      ->capture_default_str()
      ->type_name("N");
  command->add_option("--seed", sampler.seed, "Key of every random choice")
      ->capture_default_str()
      ->type_name("N");
}

void add_generate(CLI::App& app) {
  auto* command = app.add_subcommand("generate", "Generate text with a model and an adapter");
  auto options = std::make_shared<GenerateOptions>();
  add_model_options(command, *options);
  add_path(command, "--adapter", options->adapter, "Adapter folder, as training writes it")
      ->type_name("PATH");
  command->add_option("--prompt", options->prompt, "Text to go on with, as it is")
      ->type_name("TEXT");
  add_path(command, "--messages", options->messages,
           "Conversations to answer: JSON, or JSON lines, answered together")
      ->type_name("FILE");
  command
      ->add_option("--chat_template", options->chat_template,
                   "tokenizer_default, chatml, llama3 or alpaca")
      ->capture_default_str()
      ->type_name("NAME");
  command->add_option("--max_new_tokens", options->max_new_tokens, "Longest answer in tokens")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 31))
      ->type_name("N");
  add_sampling_options(command, options->sampler);
  // Passed on as settings, so that they are checked as the keys of a config are.
  for (const char* key : {"load_in_4bit", "bnb_4bit_quant_type", "bnb_4bit_use_double_quant",
                          "bnb_4bit_blocksize", "bnb_4bit_compute_dtype"}) {
    command
        ->add_option_function<std::string>(
            fmt::format("--{}", key),
            [options, key](const std::string& value) {
              options->base_settings.push_back(fmt::format("{}={}", key, value));
            },
            fmt::format("As the key {} of a config", key))
        ->type_name("VALUE");
  }
  command->footer(
      "\nWrites the new text alone to stdout. --messages FILE is a list of {\"role\", \"content\"} "
      "or\n{\"messages\": [...]}; with one of them on each line (.jsonl) every answer is a line "
      "{\"text\": ...}.\nThe base is held as the run beside the adapter had it (qlora: 4-bit), "
      "without an adapter as\nstored; --load_in_4bit and the bnb_4bit options say otherwise.\n\n"
      "Example: tessera generate --base_model models/smollm2 --adapter runs/first "
      "--messages chat.json");
  command->callback([options] {
    require_cpu();
    require_alone("generate");
    generate(*options);
  });
}

/// An option whose value is one of a few names.
template <class T>
void add_choice(CLI::App* command, const std::string& name, std::optional<T>& value,
                const std::map<std::string, T>& names, const std::string& help) {
  const auto read = [&value, names, name](const std::string& text) {
    const auto found = names.find(text);
    if (found == names.end()) {
      throw CLI::ValidationError(name, fmt::format("unknown value {}", shown(text)));
    }
    value = found->second;
  };
  command->add_option_function<std::string>(name, read, help)->type_name("NAME");
}

void add_merge(CLI::App& app) {
  auto* command = app.add_subcommand("merge", "Add an adapter to its base: a model of its own");
  auto options = std::make_shared<MergeOptions>();
  add_model_options(command, *options);
  add_path(command, "--adapter", options->adapter, "Adapter folder, as training writes it")
      ->required()
      ->type_name("PATH");
  add_path(command, "--output", options->output, "Folder to make; must not exist")
      ->required()
      ->type_name("DIR");
  add_choice<MergeInto>(
      command, "--merge_into", options->into,
      {{"dequantized", MergeInto::kDequantized}, {"original", MergeInto::kOriginal}},
      "dequantized (the weights trained on; the default of a 4-bit run) or original");
  add_choice<DType>(
      command, "--dtype", options->dtype,
      {{"float32", DType::kF32}, {"bfloat16", DType::kBF16}, {"float16", DType::kF16}},
      "float32, bfloat16 or float16; default: the checkpoint's");
  command->add_flag("--partial", options->partial, "Merge the adapter of an unfinished run");
  command->footer(
      "\nWrites a Hugging Face folder that transformers and Tessera load. Prints how far the "
      "merged\nweights are from the base's.\n\n"
      "Example: tessera merge --base_model models/smollm2 --adapter runs/first --output merged");
  command->callback([options] {
    require_cpu();
    require_alone("merge");
    Console console;
    const MergeReport report = merge(*options, console);
    write_stdout(describe(report, options->output));
  });
}

void add_tokenize(CLI::App& app) {
  auto* command = app.add_subcommand("tokenize", "Show the tokens of a text or of conversations");
  auto options = std::make_shared<TokenizeOptions>();
  add_path(command, "--tokenizer", options->tokenizer,
           "Model folder, tokenizer.json, or .gguf file")
      ->required()
      ->type_name("PATH");
  add_path(command, "file", options->file, "Text to tokenize as a whole; - for standard input");
  add_path(command, "--messages", options->messages, "Conversations instead: JSON or JSON lines")
      ->type_name("FILE");
  command
      ->add_option("--chat_template", options->chat_template,
                   "tokenizer_default, chatml, llama3 or alpaca")
      ->capture_default_str()
      ->type_name("NAME");
  command->add_flag("--add-generation-prompt,--add_generation_prompt",
                    options->add_generation_prompt, "Open the assistant's turn at the end");
  command->add_flag("--text", options->text, "Print the rendered text instead of its tokens");
  command->footer("\nExample: echo -n 'Hello' | tessera tokenize --tokenizer models/smollm2 -");
  command->callback([options] {
    Console console;
    write_stdout(tokenize(*options, console));
  });
}

void add_plan(CLI::App& app) {
  auto* command = app.add_subcommand("plan", "Show what a run takes in memory and time");
  auto arguments = std::make_shared<ConfigArguments>();
  auto options = std::make_shared<PlanOptions>();
  arguments->add_to(command);
  command->add_option("--ranks", options->ranks, "Ranks that share the run")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 16))
      ->type_name("N");
  command
      ->add_option("--ranks_per_node", options->ranks_per_node,
                   "Of them on one machine; default: all, or 8 GPUs")
      ->check(CLI::Range(1, 1 << 16))
      ->type_name("N");
  add_path(command, "--profile", options->profile,
           fmt::format("Device: {}, or a file from `tessera doctor --profile`",
                       fmt::join(gpu_names(), ", ")))
      ->type_name("NAME");
  command->add_flag("--json", options->json, "As JSON, in bytes and seconds");
  command->footer(
      "\nOpens only the model's config.json; loads nothing. What the config leaves open is chosen "
      "as a\nrun would choose it. Numbers for a GPU are modelled.\n\n"
      "Example: tessera plan run.yml --ranks 8 --profile H100 sequence_len=4096");
  command->callback([arguments, options] {
    require_alone("plan");
    options->config = arguments->path;
    options->overrides = arguments->overrides;
    write_stdout(plan(*options));
  });
}

void add_doctor(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand("doctor", "Show what this machine has and what is missing");
  auto profile = std::make_shared<bool>(false);
  command->add_flag("--profile", *profile,
                    "Measure it instead, as JSON for `tessera plan --profile FILE`");
  command->callback([profile, &exit_code] {
    if (*profile) {
      require_cpu();
      return write_stdout(profile_json(measure_profile(thread_count(std::nullopt))));
    }
    write_stdout(diagnose());
    exit_code = missing_cpu_features().empty() ? 0 : 1;
  });
}

/// Null where there is none of that name.
const CLI::App* find_command(const CLI::App& app, std::string_view name) {
  const auto found = app.get_subcommands([&](const CLI::App* c) { return c->get_name() == name; });
  return found.empty() ? nullptr : found.front();
}

void add_help(CLI::App& app) {
  auto* command = app.add_subcommand("help", "Explain a command, or the keys of a config");
  auto topic = std::make_shared<std::string>();
  auto markdown = std::make_shared<bool>(false);
  command->add_option("topic", *topic, "A command, or config");
  command->add_flag("--markdown", *markdown, "config as a Markdown page");
  command->callback([&app, topic, markdown] {
    if (*markdown && *topic != "config") fail_usage("--markdown is for `tessera help config`");
    if (topic->empty()) {
      // app.help() would give the help of the command in use, which is this one.
      const auto mode = CLI::AppFormatMode::Normal;
      return write_stdout(app.get_formatter()->make_help(&app, app.get_name(), mode));
    }
    if (*topic == "config") {
      return write_stdout(*markdown ? config_reference_markdown() : config_help());
    }
    const CLI::App* about = find_command(app, *topic);
    if (!about) fail_usage("there is no help on '{}' (tessera --help shows the commands)", *topic);
    write_stdout(about->help(app.get_name()));
  });
}

/// CLI11 would only say that an argument was not expected.
void check_command(const CLI::App& app, int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-' || find_command(app, argv[1])) return;
  std::vector<std::string_view> known;
  for (const CLI::App* command : app.get_subcommands({})) known.push_back(command->get_name());
  const std::string_view near = nearest_of(argv[1], known);
  fail_usage("unknown command {}{} (tessera --help shows the commands)", shown(argv[1]),
             near.empty() ? "" : fmt::format("; did you mean '{}'?", near));
}

}  // namespace

int run_command_line(int argc, char** argv) {
  CLI::App app("Tessera fine-tunes large language models with QLoRA.", "tessera");
  app.set_version_flag("--version", fmt::format("tessera {}", kVersion));
  app.require_subcommand(0, 1);
  int exit_code = 0;
  add_train(app, exit_code);
  add_plan(app);
  add_eval(app);
  add_generate(app);
  add_merge(app);
  add_tokenize(app);
  add_doctor(app, exit_code);
  add_help(app);
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

}  // namespace tessera::launch
