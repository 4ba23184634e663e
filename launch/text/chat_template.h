// Conversations to text by Jinja chat templates: the checkpoint's own, one of ours, or the user's.
// The text equals what transformers' apply_chat_template gives, and each of its bytes is known to
// come from the template or from a message. Templates are immutable; threads may share them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "launch/text/jinja/template.h"
#include "launch/text/tokenizer/tokenizer.h"

namespace tessera::launch {

/// A conversation as a template sees it.
struct Conversation {
  using Json = nlohmann::ordered_json;

  Json messages = Json::array();    // objects that have a "role"
  Json variables = Json::object();  // what else the template may read: tools, documents and more
  /// Whether a message is to be learned, where its keys say so; as long as `messages`, or empty.
  std::vector<std::optional<bool>> learned = {};
};

/// What the source of a mark stands for: a part of a message, or other data. All further calls
/// count as the last.
struct MessagePart {
  static constexpr int32_t kOtherData = -1, kContent = 0, kReasoning = 1, kFirstCall = 2;
  static constexpr int32_t kParts = 64;

  int32_t message = kOtherData;
  int32_t part = 0;

  static MessagePart of(const jinja::Mark& mark) {
    if (mark.source < 0) return {};
    return {mark.source / kParts, mark.source % kParts};
  }
  int32_t source() const { return message * kParts + std::min(part, kParts - 1); }
};

/// How the arguments of a tool call have to come, so that the template prints them as JSON.
enum class ToolArguments { kEither, kObject, kText };

class ChatTemplate {
 public:
  /// `choice` is tokenizer_default, the name of one of the tokenizer's templates or of ours, a
  /// file, or a Jinja text. `variables` are given to every render. Error when there is no such
  /// template, it is malformed, or one of ours needs a token that the tokenizer does not have.
  static ChatTemplate resolve(const std::string& choice, const Tokenizer& tokenizer,
                              Conversation::Json variables = Conversation::Json::object());

  /// One conversation, taken apart once and rendered as often as needed.
  class Chat {
   public:
    /// The first `messages` of them. jinja::TemplateRefusal when the template raises an exception,
    /// Error when it fails.
    jinja::Rendered render(size_t messages, bool add_generation_prompt) const;
    jinja::Rendered render(bool add_generation_prompt) const {
      return render(messages_.size(), add_generation_prompt);
    }

   private:
    friend class ChatTemplate;
    const jinja::Template* template_ = nullptr;
    int64_t now_ = 0;
    jinja::List messages_;
    jinja::Dict variables_;
  };
  /// Must not outlive the template. The marks are those of MessagePart; roles and names are other
  /// data. Keys whose value is null are left out, and reasoning is there under all of its names, as
  /// in transformers.
  Chat chat(const Conversation& conversation) const;

  /// How the template was chosen: a name, or the path of its file.
  const std::string& name() const { return name_; }
  /// Whether it marks what the assistant said by {% generation %}.
  bool marks_generation(const Conversation& conversation) const;
  /// Whether it could read a variable or a key of this name.
  bool mentions(const Conversation& conversation, std::string_view key) const;
  /// Whether it may print the time, and which, in seconds since the epoch.
  bool prints_time() const { return texts_.front().words.contains("strftime_now"); }
  int64_t time() const { return now_; }
  /// Hash of all that its renders depend on, beside the conversation and the tokenizer's tokens.
  uint64_t fingerprint() const;
  /// Whether it prints the texts of a content that is a list of parts.
  bool takes_parts() const { return takes_parts_; }
  ToolArguments tool_arguments() const { return tool_arguments_; }
  /// Whether it fails on a message that calls tools and has no content.
  bool needs_content() const { return needs_content_; }

 private:
  struct Text {
    jinja::Template jinja;
    std::set<std::string, std::less<>> words;  // the names and words that occur in it
    uint64_t hash;
  };

  ChatTemplate() = default;
  static Text parse(const std::string& text, const std::string& name);
  const Text& text_for(const Conversation& conversation) const;
  void probe();

  std::string name_;
  std::vector<Text> texts_;  // the template, and the one for conversations with tools, if any
  Conversation::Json variables_;
  jinja::Dict tokens_;  // bos_token and the like
  int64_t now_ = 0;
  bool takes_parts_ = false;
  bool needs_content_ = false;
  ToolArguments tool_arguments_ = ToolArguments::kEither;
};

/// The text as pieces: `literal` is what came from data.
std::vector<TextPiece> pieces_of(const jinja::Rendered& text);

/// The names that a message's reasoning has; the first is the one that templates read.
inline constexpr std::string_view kReasoningKeys[] = {"reasoning_content", "thinking", "reasoning"};

inline bool is_reasoning_key(std::string_view key) {
  return std::ranges::find(kReasoningKeys, key) != std::end(kReasoningKeys);
}

}  // namespace tessera::launch
