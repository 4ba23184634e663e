// Conversations as people store them (OpenAI's messages, ShareGPT's conversations) to Messages.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string_view>
#include <vector>

#include "launch/data/row_keys.h"
#include "launch/text/chat_template.h"

namespace tessera::launch {

/// The messages of a row: "messages" with role and content, or "conversations" with from and value;
/// the row's "system", if it has one, comes first. A content may be a list of text parts, which are
/// joined. Error beginning with `where` when the row is none of these, or means more than that.
std::vector<Message> messages_of(const nlohmann::json& row, std::string_view where,
                                 RowRemarks& remarks);

/// Counts in `remarks` what of a conversation's contents is taken as letters: special tokens, and
/// placeholders of images and the like. `encoding` is that of the rendered messages.
void count_letters(const Encoding& encoding, std::span<const Message> messages,
                   const Tokenizer& tokenizer, RowRemarks& remarks);

}  // namespace tessera::launch
