#include "launch/commands/chat.h"

#include <csignal>
#include <vector>

#include "launch/commands/arguments.h"
#include "launch/commands/chat_input.h"
#include "launch/commands/chat_screen.h"
#include "launch/hub/find_model.h"
#include "launch/machine/processors.h"
#include "launch/machine/ranks.h"
#include "launch/machine/signals.h"
#include "launch/run/chat_session.h"
#include "runtime/core/error.h"
#include "runtime/core/nearest.h"

namespace tessera::launch {
namespace {

/// The conversation, and the person in it.
class Chat {
 public:
  Chat(const ChatOptions& options, const OpenedModel& opened, ChatSession& session,
       Console& console)
      : options_(options), opened_(opened), session_(session), console_(console) {}

  void loop();

  void help(const std::string&);
  void reset(const std::string&);
  void undo(const std::string&);
  void system(const std::string& text);
  void adapter(const std::string& choice);
  void save(const std::string& path);
  void load(const std::string& path);
  void quit(const std::string&) { over_ = true; }

 private:
  void take(const ChatInput::Entry& entry);
  void command(const std::string& line);
  /// Answers `message`, or what a loaded conversation ends with.
  void answer(const std::string* message);
  void say_how_it_ended(const ChatAnswer& answer, int signal);

  const ChatOptions& options_;
  const OpenedModel& opened_;
  ChatSession& session_;
  Console& console_;
  ChatInput input_;
  ChatScreen screen_;
  bool over_ = false;
};

enum class Takes { kNothing, kMaybe, kSomething };

struct ChatCommand {
  std::string_view name;
  std::string_view argument;
  Takes takes;
  std::string_view help;
  void (Chat::*run)(const std::string& argument);
};

constexpr ChatCommand kChatCommands[] = {
    {"/system", "[TEXT]", Takes::kMaybe, "show the system prompt, or set it", &Chat::system},
    {"/adapter", "[on|off]", Takes::kMaybe, "show whether the adapter is on, or turn it on or off",
     &Chat::adapter},
    {"/undo", "", Takes::kNothing, "take back the last message and its answer", &Chat::undo},
    {"/reset", "", Takes::kNothing, "begin anew, under the same system prompt", &Chat::reset},
    {"/save", "FILE", Takes::kSomething, "write the conversation as JSON", &Chat::save},
    {"/load", "FILE", Takes::kSomething, "go on with such a file", &Chat::load},
    {"/help", "", Takes::kNothing, "show this", &Chat::help},
    {"/quit", "", Takes::kNothing, "leave, as Ctrl-D does", &Chat::quit},
};

void Chat::loop() {
  if (input_.is_terminal()) {
    console_.line(
        fmt::format("{}{}; /help shows the commands, Ctrl-D leaves", opened_.choice().base_model,
                    opened_.adapter() ? " with the adapter " + opened_.adapter()->path : ""));
  }
  while (!over_) {
    const std::optional<ChatInput::Entry> entry = input_.next();
    if (!entry) return;
    try {
      take(*entry);
    } catch (const Error& error) {
      if (!input_.is_terminal()) throw;
      print_error(error.what());
    }
  }
}

void Chat::take(const ChatInput::Entry& entry) {
  if (!entry.quoted && entry.text.starts_with('/')) return command(entry.text);
  answer(&entry.text);
}

void Chat::command(const std::string& line) {
  const size_t end = std::min(line.find_first_of(" \t"), line.size());
  const std::string name = line.substr(0, end);
  const size_t begin = line.find_first_not_of(" \t", end);
  std::string argument = begin == line.npos ? "" : line.substr(begin);
  argument.resize(argument.find_last_not_of(" \t") + 1);
  std::vector<std::string_view> names;
  for (const ChatCommand& each : kChatCommands) {
    names.push_back(each.name);
    if (each.name != name) continue;
    if (each.takes == Takes::kNothing && !argument.empty()) fail("{} takes no argument", name);
    if (each.takes == Takes::kSomething && argument.empty()) {
      fail("{} needs an argument: {} {}", name, name, each.argument);
    }
    return (this->*each.run)(argument);
  }
  const std::string_view near = nearest_of(name, names);
  fail(
      "unknown command {}{} (/help shows the commands; a message that begins with / stands "
      "between two \"\"\")",
      io::printable(name), near.empty() ? "" : fmt::format("; did you mean {}?", near));
}

void Chat::answer(const std::string* message) {
  const auto begin = [&](bool thinking) { screen_.begin(thinking); };
  const auto text = [&](std::string_view more) { screen_.text(more); };
  const StopSignals signals;
  ChatAnswer answer;
  try {
    answer = message ? session_.say(*message, {begin, text}) : session_.answer({begin, text});
  } catch (...) {
    screen_.end();
    throw;
  }
  screen_.end();
  for (const std::string& note : session_.take_notes()) console_.line(note);
  say_how_it_ended(answer, StopSignals::received());
}

void Chat::say_how_it_ended(const ChatAnswer& answer, int signal) {
  if (!answer.finish) {
    if (signal != SIGINT || !input_.is_terminal()) fail("stopped by a signal");
    console_.line(answer.kept ? "(stopped; /undo takes the message and this answer back)"
                              : "(stopped before an answer; the message is taken back)");
    return;
  }
  const int64_t limit = position_limit(opened_.checkpoint().spec());
  const int64_t left = limit - answer.context;
  if (answer.finish == Finish::kLength) {
    console_.line(fmt::format("(the answer ends at --max_new_tokens {})", options_.max_new_tokens));
  }
  if (answer.finish == Finish::kContext || left < options_.max_new_tokens) {
    console_.line(
        fmt::format("({} of the model's {} positions are left; /undo or /reset makes room)",
                    format_count(std::max<int64_t>(0, left)), format_count(limit)));
  }
}

void Chat::help(const std::string&) {
  for (const ChatCommand& each : kChatCommands) {
    console_.line(
        fmt::format("{:<18} {}", fmt::format("{} {}", each.name, each.argument), each.help));
  }
  console_.line("A message of several lines stands between two \"\"\". Ctrl-C stops an answer.");
}

void Chat::reset(const std::string&) {
  session_.reset();
  console_.line("(a new conversation)");
}

void Chat::undo(const std::string&) {
  session_.undo();
  console_.line(fmt::format("({} messages are left)", session_.messages()));
}

void Chat::system(const std::string& text) {
  if (!text.empty()) session_.set_system(text);
  const std::string now = session_.system();
  console_.line(now.empty() ? "(no system prompt)" : fmt::format("(system prompt: {})", now));
}

void Chat::adapter(const std::string& choice) {
  if (choice != "" && choice != "on" && choice != "off") {
    fail("/adapter {}: expected on or off", io::printable(choice));
  }
  if (!choice.empty()) session_.use_adapter(choice == "on");
  console_.line(!session_.has_adapter()   ? "(there is no adapter)"
                : session_.uses_adapter() ? "(the adapter is on)"
                                          : "(the adapter is off: the base answers)");
}

void Chat::save(const std::string& path) {
  session_.save(path);
  console_.line(fmt::format("({} messages are in {})", session_.messages(), path));
}

void Chat::load(const std::string& path) {
  session_.load(path);
  console_.line(fmt::format("({} messages of {})", session_.messages(), path));
  if (session_.unanswered()) answer(nullptr);
}

}  // namespace

void chat(const ChatOptions& options) {
  check_answering_options(options);
  Console console;
  const OpenedModel opened(options.model, console);
  const ChatTemplate chat = opened.chat_template();
  const GeneratorOptions how = generator_options(options, opened.stop_ids(&chat, console));
  AnsweringModel model(opened, options.sampler.seed, console);
  ChatSession session(opened, model, chat, how, options.stops);
  session.set_system(options.system);
  Chat(options, opened, session, console).loop();
}

void declare_chat(CLI::App* command, int&) {
  auto options = std::make_shared<ChatOptions>();
  add_answering_options(command, *options);
  command->add_option("--system", options->system, "System prompt of the conversation")
      ->type_name("TEXT");
  command->footer(
      "\nEach line is a message, or a command that begins with /; /help shows them. Answers go to "
      "stdout,\nall else to stderr, so that a script can write messages and read answers "
      "(docs/chat.md).\n\nExample: tessera chat --base_model models/smollm2 --adapter runs/first");
  command->callback([options] {
    require_cpu();
    require_alone("chat");
    Console console;
    options->model.base_model = find_model(options->model.base_model, console);
    chat(*options);
  });
}

}  // namespace tessera::launch
