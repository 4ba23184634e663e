// Conversations as people store them (OpenAI's messages, ShareGPT's conversations), and what has to
// be so that a chat template prints all of one.
#pragma once

#include <string_view>

#include "launch/data/row_keys.h"
#include "launch/text/chat_template.h"

namespace tessera::launch {

/// The conversation of a row: "messages" with role and content, or "conversations" with from and
/// value; the row's "system", if it has one, comes first. Its tools, documents and
/// chat_template_kwargs become variables, also where they are stored as JSON text. Error beginning
/// with `where` when the row is none of these, or means more than that.
Conversation conversation_of(const RowJson& row, std::string_view where, RowRemarks& remarks);

/// Gives contents and arguments of tool calls the form that the template takes. Error beginning
/// with `where` when a part of the conversation has no place in the template, or is no text.
void fit_to_template(Conversation& conversation, const ChatTemplate& chat, std::string_view where,
                     RowRemarks& remarks);

/// For renders that are as transformers makes them: names the keys that the template does not read.
void note_unread_keys(const Conversation& conversation, const ChatTemplate& chat,
                      RowRemarks& remarks);

/// Counts in `remarks` what of a conversation's contents is taken as letters: special tokens, which
/// `encoding` of the rendered text has, and placeholders of images and the like.
void count_letters(const Encoding& encoding, const Conversation& conversation,
                   const Tokenizer& tokenizer, RowRemarks& remarks);
/// The placeholders alone.
void count_placeholders(const Conversation& conversation, const Tokenizer& tokenizer,
                        RowRemarks& remarks);

}  // namespace tessera::launch
