#include "launch/commands/tokenize.h"

#include <nlohmann/json.hpp>

#include "launch/commands/arguments.h"
#include "launch/data/chat_rows.h"
#include "launch/data/conversations.h"
#include "launch/data/end_tokens.h"
#include "launch/data/messages.h"
#include "launch/hub/find_model.h"
#include "launch/text/tokenizer/tokenizer.h"
#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

using Json = nlohmann::ordered_json;

/// Neighbouring pieces that are learned, or not, as one.
Json stretches(const std::vector<TextPiece>& pieces) {
  Json out = Json::array();
  for (const TextPiece& piece : pieces) {
    if (out.empty() || out.back()["learned"] != piece.learned) {
      out.push_back({{"learned", piece.learned}, {"text", ""}});
    }
    out.back()["text"].get_ref<std::string&>() += piece.text;
  }
  return out;
}

/// What training makes of a conversation.
std::string masked(const ChatRequest& request, const ChatTools& tools, bool as_text,
                   RowRemarks& remarks) {
  const ChatRow row = chat_row(request.conversation, Config{}, tools, request.where, remarks);
  if (as_text) return stretches(row.pieces).dump() + "\n";
  Json mask = Json::array();
  for (const bool learned : row.learned) mask.push_back(int(learned));
  return Json{{"input_ids", row.encoding.ids}, {"assistant_masks", mask}}.dump() + "\n";
}

std::string rendered(const ChatRequest& request, const ChatTools& tools, const TokenizeOptions& how,
                     bool lines, RowRemarks& remarks) {
  const jinja::Rendered text = render(request, tools.chat_template, remarks);
  if (how.text) {
    count_placeholders(request.conversation, tools.tokenizer, remarks);
    return lines ? Json(text.text).dump() + "\n" : text.text;
  }
  const Encoding encoding = tools.tokenizer.encode(pieces_of(text));
  count_letters(encoding, request.conversation, tools.tokenizer, remarks);
  return Json(encoding.ids).dump() + "\n";
}

}  // namespace

std::string tokenize(const TokenizeOptions& options, Console& console) {
  if (options.file.has_value() == options.messages.has_value()) {
    fail_usage("give either a FILE (- for standard input) or --messages FILE");
  }
  for (const auto& [given, name] :
       {std::pair(options.add_generation_prompt, "--add-generation-prompt"),
        std::pair(options.masks, "--masks")}) {
    if (given && !options.messages) fail_usage("{} needs --messages FILE", name);
  }
  if (options.masks && options.add_generation_prompt) {
    fail_usage("--masks shows what is trained on, which has no --add-generation-prompt");
  }
  const Tokenizer tokenizer = Tokenizer::load(options.tokenizer);
  for (const std::string& note : tokenizer.notes()) console.line(note);
  if (options.file) {
    const std::string text = read_input(*options.file);
    return options.text ? text : Json(tokenizer.encode(text)).dump() + "\n";
  }
  Conversations conversations = read_conversations(*options.messages);
  const ChatTemplate chat = ChatTemplate::resolve(options.chat_template, tokenizer);
  const std::vector<int32_t> ends = end_tokens(tokenizer, options.tokenizer);
  std::string out;
  for (ChatRequest& request : conversations.list) {
    request.add_generation_prompt = request.add_generation_prompt || options.add_generation_prompt;
    const ChatTools tools{chat, tokenizer, ends};
    RowRemarks& remarks = conversations.remarks;
    out += options.masks ? masked(request, tools, options.text, remarks)
                         : rendered(request, tools, options, conversations.lines, remarks);
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
  CLI::Option* messages = add_path(command, "--messages", options->messages,
                                   "Conversations instead: JSON or JSON lines")
                              ->type_name("FILE");
  add_chat_template(command, options->chat_template);
  command->get_option("--chat_template")->needs(messages);
  command->add_flag("--add-generation-prompt,--add_generation_prompt",
                    options->add_generation_prompt, "Open the assistant's turn at the end");
  command->add_flag("--text", options->text, "Print the rendered text instead of its tokens");
  command->add_flag("--masks", options->masks, "Print what training makes of conversations");
  command->footer("\nExample: echo -n 'Hello' | tessera tokenize --tokenizer models/smollm2 -");
  command->callback([options] {
    Console console;
    options->tokenizer = find_model_without_weights(options->tokenizer, console);
    write_stdout(tokenize(*options, console));
  });
}

}  // namespace tessera::launch
