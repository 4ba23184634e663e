// Conversations to text, by built-in templates: the models' Jinja texts are recognised, never run.
// What render() returns, concatenated, equals byte for byte what Jinja2 prints for the template
// (with Hugging Face's settings trim_blocks and lstrip_blocks).
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "launch/text/tokenizer.h"

namespace tessera::launch {

struct Message {
  std::string role;  // system, user, assistant, or what else the template knows
  std::string content;
  bool learned = true;  // false: context only, though the assistant said it
};

/// What a template is to ChatTemplate: the seam at which a Jinja interpreter would come in.
class ChatRenderer {
 public:
  virtual ~ChatRenderer() = default;
  virtual std::vector<TextPiece> render(std::span<const Message> messages,
                                        bool add_generation_prompt) const = 0;
};

class ChatTemplate {
 public:
  /// `name` is chatml, llama3, alpaca or tokenizer_default. Error when the tokenizer brings no
  /// template or one that is not recognised, or lacks a token that the template needs.
  static ChatTemplate resolve(const std::string& name, const Tokenizer& tokenizer);

  /// Contents are `literal`; what the assistant said and the marker that ends it are `assistant`.
  /// A piece that a message gave rise to has its index.
  /// Error when the conversation is one that the template does not take.
  std::vector<TextPiece> render(std::span<const Message> messages,
                                bool add_generation_prompt) const {
    return renderer_->render(messages, add_generation_prompt);
  }

  /// The template in effect: after tokenizer_default the one recognised, e.g. "smollm2".
  const std::string& name() const { return name_; }

 private:
  ChatTemplate(std::string name, std::shared_ptr<const ChatRenderer> renderer)
      : name_(std::move(name)), renderer_(std::move(renderer)) {}

  std::string name_;
  std::shared_ptr<const ChatRenderer> renderer_;
};

}  // namespace tessera::launch
