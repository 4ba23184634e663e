#include "launch/commands/tokenize.h"

#include <nlohmann/json.hpp>

#include "launch/commands/arguments.h"
#include "launch/data/conversations.h"
#include "launch/data/messages.h"
#include "launch/text/tokenizer.h"
#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

using nlohmann::json;

std::string joined(const std::vector<TextPiece>& pieces) {
  std::string text;
  for (const TextPiece& piece : pieces) text += piece.text;
  return text;
}

}  // namespace

std::string tokenize(const TokenizeOptions& options, Console& console) {
  if (options.file.has_value() == options.messages.has_value()) {
    fail_usage("give either a FILE (- for standard input) or --messages FILE");
  }
  if (options.add_generation_prompt && !options.messages) {
    fail_usage("--add-generation-prompt needs --messages FILE");
  }
  const Tokenizer tokenizer = Tokenizer::load(options.tokenizer);
  for (const std::string& note : tokenizer.notes()) console.line(note);
  if (options.file) {
    const std::string text = read_input(*options.file);
    return options.text ? text : json(tokenizer.encode(text)).dump() + "\n";
  }
  Conversations conversations = read_conversations(*options.messages);
  const ChatTemplate chat = ChatTemplate::resolve(options.chat_template, tokenizer);
  std::string out;
  for (const auto& messages : conversations.list) {
    const auto pieces = chat.render(messages, options.add_generation_prompt);
    if (!options.text) {
      const Encoding encoding = tokenizer.encode(pieces);
      count_letters(encoding, messages, tokenizer, conversations.remarks);
      out += json(encoding.ids).dump() + "\n";
    } else {
      for (const Message& message : messages) {
        conversations.remarks.count_placeholders("messages", message.content, tokenizer);
      }
      out += conversations.lines ? json(joined(pieces)).dump() + "\n" : joined(pieces);
    }
  }
  for (const std::string& note : conversations.notes()) console.line(note);
  return out;
}

void declare_tokenize(CLI::App* command, int&) {
  auto options = std::make_shared<TokenizeOptions>();
  add_path(command, "--tokenizer", options->tokenizer,
           "Model folder, tokenizer.json, or .gguf file")
      ->required()
      ->type_name("PATH");
  add_path(command, "file", options->file, "Text to tokenize as a whole; - for standard input");
  add_path(command, "--messages", options->messages, "Conversations instead: JSON or JSON lines")
      ->type_name("FILE");
  add_chat_template(command, options->chat_template);
  command->add_flag("--add-generation-prompt,--add_generation_prompt",
                    options->add_generation_prompt, "Open the assistant's turn at the end");
  command->add_flag("--text", options->text, "Print the rendered text instead of its tokens");
  command->footer("\nExample: echo -n 'Hello' | tessera tokenize --tokenizer models/smollm2 -");
  command->callback([options] {
    Console console;
    write_stdout(tokenize(*options, console));
  });
}

}  // namespace tessera::launch
