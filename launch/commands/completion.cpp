// `tessera completion`: a script that lets bash, zsh or fish complete commands, options, and the
// keys of a config with their values.
#include <fmt/ranges.h>

#include "launch/commands/arguments.h"
#include "launch/config/flags.h"
#include "launch/config/flags_schema.h"

namespace tessera::launch {

namespace {

using WordList = std::vector<std::string>;

struct CommandWords {
  std::string name, summary;
  WordList options;
  bool takes_settings = false;  // key=value
};

std::vector<CommandWords> commands_of(const CLI::App& app) {
  std::vector<CommandWords> commands;
  for (const CLI::App* command : app.get_subcommands({})) {
    CommandWords words{command->get_name(), command->get_description(), {}, false};
    for (const CLI::Option* option : command->get_options()) {
      for (const std::string& name : option->get_lnames()) words.options.push_back("--" + name);
      words.takes_settings = words.takes_settings || option->get_name() == "overrides";
    }
    commands.push_back(std::move(words));
  }
  return commands;
}

/// The keys whose values are few names, with these.
std::vector<std::pair<std::string, WordList>> keys_with_values() {
  std::vector<std::pair<std::string, WordList>> keys;
  for (const FlagGroup& group : flag_groups()) {
    for (const Flag& flag : group.flags) {
      WordList values;
      const auto take = [&](const Schema& schema) {
        if (schema.contains("const")) values.push_back(schema["const"].get<std::string>());
        if (schema.value("type", Schema()) == "boolean")
          values.insert(values.end(), {"true", "false"});
        for (const Schema& one : schema.value("enum", Schema::array())) {
          values.push_back(one.is_string() ? one.get<std::string>() : one.dump());
        }
      };
      take(flag.schema);
      for (const Schema& inner : flag.schema.value("anyOf", Schema::array())) take(inner);
      keys.emplace_back(flag.name, std::move(values));
    }
  }
  return keys;
}

std::string words(const WordList& all) { return fmt::format("{}", fmt::join(all, " ")); }

WordList settings() {
  WordList all;
  for (const auto& [key, values] : keys_with_values()) all.push_back(key + "=");
  return all;
}

WordList names_of(const std::vector<CommandWords>& commands) {
  WordList names;
  for (const CommandWords& command : commands) names.push_back(command.name);
  return names;
}

/// "a|b|c)" of a case over the commands that take settings.
std::string with_settings(const std::vector<CommandWords>& commands) {
  WordList names;
  for (const CommandWords& command : commands) {
    if (command.takes_settings) names.push_back(command.name);
  }
  return fmt::format("{}", fmt::join(names, "|"));
}

/// The cases of `case` over the keys that have few values.
std::string value_cases() {
  std::string out;
  for (const auto& [key, values] : keys_with_values()) {
    if (!values.empty()) out += fmt::format("    {}) values=\"{}\" ;;\n", key, words(values));
  }
  return out;
}

std::string option_cases(const std::vector<CommandWords>& commands) {
  std::string out;
  for (const CommandWords& command : commands) {
    out += fmt::format("    {}) options=\"{}\" ;;\n", command.name, words(command.options));
  }
  return out;
}

/// bash takes '=' for the end of a word: a value is a word of its own behind it.
constexpr std::string_view kBash =
    R"sh(# Completion of tessera for bash: source <(tessera completion bash)
_tessera_values() {{
  local values=""
  case $1 in
{values}  esac
  echo "$values"
}}

_tessera() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} command=${{COMP_WORDS[1]}} options="" key=""
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{commands} --help --version" -- "$current"))
    return
  fi
  case $command in
{options}  esac
  if [ "$current" = "=" ]; then
    key=${{COMP_WORDS[COMP_CWORD - 1]}} current=""
  elif [ "${{COMP_WORDS[COMP_CWORD - 1]}}" = "=" ]; then
    key=${{COMP_WORDS[COMP_CWORD - 2]}}
  fi
  if [ -n "$key" ]; then
    COMPREPLY=($(compgen -W "$(_tessera_values "$key")" -- "$current"))
    return
  fi
  case $current in
    -*)
      COMPREPLY=($(compgen -W "$options" -- "$current"))
      return
      ;;
  esac
  case $command in
    {settings})
      COMPREPLY=($(compgen -W "{keys}" -- "$current"))
      if [ "${{#COMPREPLY[@]}}" -gt 0 ]; then compopt -o nospace 2>/dev/null; fi
      ;;
    help) COMPREPLY=($(compgen -W "{commands} config schema" -- "$current")) ;;
  esac
}}

complete -o default -F _tessera tessera
)sh";

constexpr std::string_view kZsh = R"sh(#compdef tessera
# Completion of tessera for zsh: a file _tessera in a folder of $fpath, or
# source <(tessera completion zsh)
_tessera_values() {{
  local values=""
  case $1 in
{values}  esac
  compadd -- ${{=values}}
  _files
}}

_tessera() {{
  local options="" command=$words[2]
  if (( CURRENT == 2 )); then
    local -a commands=(
{described}    )
    _describe command commands
    return
  fi
  case $command in
{options}  esac
  if [[ $PREFIX == -* ]]; then
    compadd -- ${{=options}}
    return
  fi
  case $command in
    {settings})
      if compset -P '*='; then
        _tessera_values ${{IPREFIX%=}}
        return
      fi
      compadd -S '' -- {keys}
      _files
      ;;
    help) compadd -- {commands} config schema ;;
    *) _files ;;
  esac
}}

if [[ $funcstack[1] == _tessera ]]; then
  _tessera "$@"
else
  compdef _tessera tessera
fi
)sh";

std::string described(const std::vector<CommandWords>& commands) {
  std::string out;
  for (const CommandWords& command : commands) {
    out += fmt::format("      \"{}:{}\"\n", command.name, command.summary);
  }
  return out;
}

std::string fish_script(const std::vector<CommandWords>& commands) {
  std::string out =
      "# Completion of tessera for fish: tessera completion fish | source\n"
      "complete -c tessera -n __fish_use_subcommand -l help\n"
      "complete -c tessera -n __fish_use_subcommand -l version\n";
  WordList settings_of;
  for (const CommandWords& command : commands) {
    out += fmt::format("complete -c tessera -f -n __fish_use_subcommand -a {} -d \"{}\"\n",
                       command.name, command.summary);
    for (const std::string& option : command.options) {
      out += fmt::format("complete -c tessera -n \"__fish_seen_subcommand_from {}\" -l {}\n",
                         command.name, option.substr(2));
    }
    if (command.takes_settings) settings_of.push_back(command.name);
  }
  WordList offered;
  for (const auto& [key, values] : keys_with_values()) {
    if (values.empty()) offered.push_back(key + "=");
    for (const std::string& value : values) offered.push_back(key + "=" + value);
  }
  out += fmt::format("complete -c tessera -n \"__fish_seen_subcommand_from {}\" -a \"{}\"\n",
                     words(settings_of), words(offered));
  out += fmt::format(
      "complete -c tessera -f -n \"__fish_seen_subcommand_from help\" -a \"{} config "
      "schema\"\n",
      words(names_of(commands)));
  return out;
}

std::string script_for(const std::string& shell, const CLI::App& app) {
  const std::vector<CommandWords> commands = commands_of(app);
  if (shell == "fish") return fish_script(commands);
  if (shell != "bash" && shell != "zsh") {
    fail_usage("expected bash, zsh or fish, got {}", shown(shell));
  }
  return fmt::format(
      fmt::runtime(shell == "bash" ? kBash : kZsh), fmt::arg("values", value_cases()),
      fmt::arg("commands", words(names_of(commands))), fmt::arg("options", option_cases(commands)),
      fmt::arg("settings", with_settings(commands)), fmt::arg("keys", words(settings())),
      fmt::arg("described", described(commands)));
}

}  // namespace

void declare_completion(CLI::App* command, int&) {
  const CLI::App* app = command->get_parent();
  auto shell = std::make_shared<std::string>();
  command->add_option("shell", *shell, "bash, zsh or fish")->required()->type_name("SHELL");
  command->footer(
      "\nbash:  source <(tessera completion bash)          in ~/.bashrc\n"
      "zsh:   source <(tessera completion zsh)           in ~/.zshrc, after compinit\n"
      "fish:  tessera completion fish | source           in ~/.config/fish/config.fish");
  command->callback([app, shell] { write_stdout(script_for(*shell, *app)); });
}

}  // namespace tessera::launch
