// The prompts that a user gives, as tokens, one after another and in any number of passes: a text,
// a file of texts, or a file of conversations. A file of lines may be larger than the memory.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "launch/data/conversations.h"
#include "launch/data/files/lines.h"
#include "launch/data/files/text_chunks.h"
#include "launch/text/chat_template.h"
#include "launch/text/tokenizer/tokenizer.h"

namespace tessera::launch {

/// Where prompts come from: one of these.
struct PromptChoice {
  std::optional<std::string> prompt;    // a plain text to go on with
  std::optional<std::string> prompts;   // a file of such texts: .txt, a line each, or .jsonl
  std::optional<std::string> messages;  // a file, as read_conversations() takes it
};

/// Error (usage) unless there is exactly one.
void check_prompt_choice(const PromptChoice& choice);

/// Plain texts of a file, one for each line that is not blank. A line of .jsonl is a JSON string or
/// an object with "prompt".
class PromptFile {
 public:
  /// Error for another kind of file.
  explicit PromptFile(const std::string& path);

  struct Row {
    std::string text;
    std::string where;  // file:line
  };
  /// Nothing at the end; the next call then begins anew. Error naming file and line.
  std::optional<Row> next(RowRemarks& remarks);

 private:
  std::string path_;
  bool json_;
  std::unique_ptr<TextChunks> text_;
  std::optional<LineReader> reader_;
};

class PromptReader {
 public:
  /// `chat` is for conversations; null for plain texts. All outlive the reader.
  PromptReader(const PromptChoice& choice, const Tokenizer& tokenizer, const ChatTemplate* chat);

  struct Prompt {
    std::vector<int32_t> ids;
    std::string name;  // for messages: "the prompt", or its place in the file
  };
  /// Nothing at the end; the next call then begins anew.
  std::optional<Prompt> next();

  /// Whether there may be more than one.
  bool lines() const { return file_ || (conversations_ && conversations_->lines()); }
  /// What a user should know of the prompts of the passes so far, a line each.
  std::vector<std::string> notes() const;

 private:
  std::optional<Prompt> next_text();
  std::optional<Prompt> next_conversation();
  /// As the tokenizer encodes a text that stands alone, without what it puts behind one.
  std::vector<int32_t> ids_of(const std::string& text) const;

  const PromptChoice& choice_;
  const Tokenizer& tokenizer_;
  const ChatTemplate* chat_;
  std::optional<PromptFile> file_;
  std::optional<ConversationFile> conversations_;
  RowRemarks remarks_;
  bool given_ = false;  // the one text
};

/// The tokens that an assistant's answer to the conversation follows, or what the conversation says
/// to go on from. Error naming the place.
std::vector<int32_t> prompt_of(ChatRequest request, const ChatTemplate& chat,
                               const Tokenizer& tokenizer, RowRemarks& remarks);

}  // namespace tessera::launch
