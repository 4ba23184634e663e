// `tessera help`: a command's help, or the keys of a config.
#include "launch/commands/arguments.h"
#include "launch/config/flags_schema.h"

namespace tessera::launch {

void declare_help(CLI::App* command, int&) {
  const CLI::App* app = command->get_parent();
  auto topic = std::make_shared<std::string>();
  auto markdown = std::make_shared<bool>(false);
  command->add_option("topic", *topic, "A command, config, or schema: the JSON schema of a config");
  command->add_flag("--markdown", *markdown, "config as a Markdown page");
  command->callback([app, topic, markdown] {
    if (*markdown && *topic != "config") fail_usage("--markdown is for `tessera help config`");
    if (topic->empty()) {
      // app->help() would give the help of the command in use, which is this one.
      const auto mode = CLI::AppFormatMode::Normal;
      return write_stdout(app->get_formatter()->make_help(app, app->get_name(), mode));
    }
    if (*topic == "config") {
      return write_stdout(*markdown ? config_reference_markdown() : config_help());
    }
    if (*topic == "schema") return write_stdout(config_schema().dump(2) + "\n");
    const CLI::App* about = find_command(*app, *topic);
    if (!about) fail_usage("there is no help on '{}' (tessera --help shows the commands)", *topic);
    write_stdout(about->help(app->get_name()));
  });
}

}  // namespace tessera::launch
