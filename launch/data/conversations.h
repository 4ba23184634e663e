// Conversations and texts that a user hands to a command in a file.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "launch/data/files/lines.h"
#include "launch/data/files/text_chunks.h"
#include "launch/data/messages.h"
#include "launch/data/row_keys.h"
#include "launch/text/chat_template.h"

namespace tessera::launch {

/// A conversation, and how it is to be rendered.
struct ChatRequest {
  Conversation conversation;
  std::string where;                   // for errors
  bool add_generation_prompt = false;  // open the assistant's turn at the end
  /// The key of the last message at whose end the text ends, to be gone on with.
  std::optional<std::string> continues = {};
};

struct Conversations {
  std::vector<ChatRequest> list;
  bool lines = false;  // JSON lines, one conversation each; else the file is one conversation
  std::string path;
  RowRemarks remarks;  // what of the file is not used, or is taken as letters

  /// The remarks for the user to see, a line each.
  std::vector<std::string> notes() const;
};

/// A conversation is a list of {"role", "content"} or an object {"messages": [...]}, which may hold
/// tools, documents, chat_template_kwargs, add_generation_prompt and continue_final_message, too. A
/// file is one JSON value, or JSON lines (always where it is called .jsonl). Error naming file and
/// line.
Conversations read_conversations(const std::string& path);

/// The conversations of a file one after another, in any number of passes. Of a file called .jsonl
/// (or that, packed) no more than a line is kept, so that memory does not grow with it.
class ConversationFile {
 public:
  /// As read_conversations() takes it.
  explicit ConversationFile(const std::string& path);

  bool lines() const { return !whole_ || whole_->lines; }
  /// Nothing at the end; the next call then begins anew. Error naming file and line, also for a
  /// file that is empty.
  std::optional<ChatRequest> next(RowRemarks& remarks);

 private:
  std::string path_;
  std::optional<Conversations> whole_;  // of any other file
  std::unique_ptr<TextChunks> text_;
  std::optional<LineReader> reader_;
  size_t given_ = 0;
};

/// As transformers' apply_chat_template has it. Names in `remarks` what the template does not read.
/// Error naming the place; a message of the template itself stands in it to the letter.
jinja::Rendered render(const ChatRequest& request, const ChatTemplate& chat, RowRemarks& remarks);

/// The whole file; standard input for "-". Error when it is larger than 1 GiB.
std::string read_input(const std::string& path);

}  // namespace tessera::launch
