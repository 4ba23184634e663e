// Finds the turns of a conversation in its rendered text, by rendering what comes before them.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "launch/text/chat_template.h"
#include "launch/text/tokenizer/tokenizer.h"

namespace tessera::launch {

std::string role_of(const Conversation& conversation, size_t message);
/// For messages to the user: "message 2 (assistant)".
std::string name_of(const Conversation& conversation, size_t message);

/// The message that the bytes of a mark came from; negative for other data.
inline int32_t message_of(const jinja::Mark& mark) { return MessagePart::of(mark).message; }

/// From the first byte of a message to its last one; nothing where it left none.
std::optional<std::pair<size_t, size_t>> extent(const jinja::Rendered& text, size_t message);

/// The bytes [begin, end) of a text that a message's author says, the end of the turn included.
struct Turn {
  size_t begin = 0, end = 0;
  bool ended = true;       // by a token
  bool rewritten = false;  // the text before it is another one when the turn is made
};

class TurnFinder {
 public:
  /// `text` is the whole conversation's. `ends` are the tokens that end an answer. All arguments
  /// outlive the finder.
  TurnFinder(const ChatTemplate::Chat& chat, const Conversation& conversation,
             const jinja::Rendered& text, const Tokenizer& tokenizer, std::span<const int32_t> ends)
      : chat_(chat), conversation_(conversation), text_(text), tokenizer_(tokenizer), ends_(ends) {}

  /// Of the assistant, what follows the generation prompt; of other roles, from the first byte of
  /// the message. The turn ends with the first of `ends` that the template puts behind it, else
  /// with the last special token there. Empty for a message of another role that left no trace.
  /// Error when the prompt is not found, or bytes of another message are in between.
  Turn find(size_t message);

 private:
  using Span = std::pair<size_t, size_t>;

  std::string_view from(size_t at) const { return std::string_view(text_.text).substr(at); }
  size_t begin_of(size_t message, const std::optional<Span>& said, Turn& turn);
  std::optional<size_t> end_of_header(size_t message, size_t behind, const jinja::Mark* here,
                                      Turn& turn) const;
  std::string generation_prompt(size_t message) const;
  size_t end_of(size_t message, bool said, Turn& turn) const;
  size_t other_end(std::string_view closing, std::string_view rest, bool said, bool generated,
                   Turn& turn) const;
  std::string_view zone(size_t message, size_t at) const;
  void require_alone(size_t message, const Turn& turn) const;

  Encoding encode(std::string_view markup) const;
  size_t end_token(std::string_view closing) const;
  std::optional<Span> special_token(std::string_view markup, size_t at) const;
  size_t begin_of_token(std::string_view markup, size_t at) const;

  const ChatTemplate::Chat& chat_;
  const Conversation& conversation_;
  const jinja::Rendered& text_;
  const Tokenizer& tokenizer_;
  std::span<const int32_t> ends_;
};

}  // namespace tessera::launch
