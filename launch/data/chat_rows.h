// Conversations as training takes them: rendered, tokenized, and which tokens are learned.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "launch/config/config.h"
#include "launch/data/row_keys.h"
#include "launch/text/chat_template.h"
#include "launch/text/tokenizer/tokenizer.h"

namespace tessera::launch {

/// What a model brings for conversations.
struct ChatTools {
  const ChatTemplate& chat_template;
  const Tokenizer& tokenizer;
  std::span<const int32_t> ends;  // the tokens that end an answer
};

struct ChatRow {
  std::vector<TextPiece> pieces;
  Encoding encoding;
  std::vector<bool> learned;  // by token
};

/// Error beginning with `where` when the template does not take the conversation, or what is to be
/// learned cannot be found in its text.
ChatRow chat_row(Conversation conversation, const Config& config, const ChatTools& tools,
                 std::string_view where, RowRemarks& remarks);

}  // namespace tessera::launch
