// `tessera tokenize`: what a tokenizer makes of a text or of conversations.
#pragma once

#include <optional>
#include <string>

#include "launch/console/progress.h"

namespace tessera::launch {

struct TokenizeOptions {
  std::string tokenizer;                // a model folder, tokenizer.json or .gguf file
  std::optional<std::string> file;      // a text; "-" is standard input
  std::optional<std::string> messages;  // instead: conversations, see read_conversations()
  std::string chat_template = "tokenizer_default";
  bool add_generation_prompt = false;  // with messages: open the assistant's turn
  bool text = false;                   // give the text instead of its tokens
  bool masks = false;                  // with messages: say what training learns
};

/// A JSON array of ids, one line for the text or for each conversation; or with `text` what is
/// tokenized, as it is (of several conversations: a JSON string on a line each). Conversations
/// become text as transformers' apply_chat_template has it. With `masks` they are what training
/// makes of them: input_ids and assistant_masks, or with `text` the stretches learned and not. A
/// text is taken as it is: no beginning-of-sequence token is added. `console` hears what a user
/// should know of the tokenizer and the conversations.
std::string tokenize(const TokenizeOptions& options, Console& console);

}  // namespace tessera::launch
