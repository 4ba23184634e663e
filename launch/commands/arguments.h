// What command lines have in common: paths, numbers, the config with its overrides, names to choose
// from.
#pragma once

#include <CLI/CLI.hpp>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "launch/config/config.h"
#include "launch/config/flags_types.h"
#include "launch/config/user_path.h"
#include "launch/config/yaml.h"
#include "launch/console/progress.h"
#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::launch {

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

/// An option that takes a number, read as a config's are: `type` is an IntType or a RealType whose
/// range fits into Number. The help shows a value that is there already.
template <class Number, class Type>
CLI::Option* add_number(CLI::App* command, const std::string& name, Number& value, const Type& type,
                        const std::string& help) {
  const auto read = [&value, type, name](const std::string& text) {
    YamlNode node;
    node.kind = YamlNode::Kind::kScalar;
    node.text = text;
    node.place = {std::make_shared<const std::string>("command line")};
    Faults faults;
    if (const auto number = type.read({name, node, faults})) value = *number;
    faults.raise();
  };
  CLI::Option* option = command->add_option_function<std::string>(name, read, help);
  if constexpr (requires { type.write(value); }) option->default_str(type.write(value));
  return option;
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

/// What became of keys of other trainers in the config, a line each.
inline void show_notes(const Config& config, Console& console) {
  for (const std::string& note : config.notes) console.line(note);
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

/// Options shared by the commands that load a model.
template <class Options>
void add_model_options(CLI::App* command, Options& options) {
  add_path(command, "--base_model", options.base_model,
           "Model: a Hugging Face folder or a .gguf file")
      ->required()
      ->type_name("PATH");
  add_number(command, "--threads", options.threads, IntType{1, 4096},
             "CPU threads; default: every core")
      ->type_name("N");
}

/// The template that renders conversations. A std::string's default is shown.
template <class Text>
void add_chat_template(CLI::App* command, Text& name) {
  const bool optional = std::is_same_v<Text, std::optional<std::string>>;
  CLI::Option* option = command->add_option(
      "--chat_template", name,
      std::string("tokenizer_default, chatml, llama3 or another name, or a file") +
          (optional ? "; default: that of the adapter's run, else tokenizer_default" : ""));
  option->type_name("NAME");
  if (!optional) option->capture_default_str();
}

/// Null where there is none of that name.
inline const CLI::App* find_command(const CLI::App& app, std::string_view name) {
  const auto found = app.get_subcommands([&](const CLI::App* c) { return c->get_name() == name; });
  return found.empty() ? nullptr : found.front();
}

}  // namespace tessera::launch
