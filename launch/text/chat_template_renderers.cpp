#include "launch/text/chat_template_renderers.h"

#include <algorithm>

#include "launch/text/tokenizer_text.h"
#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

using Pieces = std::vector<TextPiece>;

/// Collects pieces, leaving out empty ones.
class Writer {
 public:
  explicit Writer(std::span<const Message> messages) : messages_(messages) {}

  /// What follows is the turn of `message`, which is one of the conversation's.
  void begin(const Message& message) { message_ = int32_t(&message - messages_.data()); }
  /// The template's own words.
  void markup(std::string text) { add({std::move(text), false, false}); }
  /// What a user wrote.
  void content(std::string text) { add({std::move(text), true, false}); }
  void said(std::string text) { add({std::move(text), true, true}); }
  /// The template's words that the assistant is to learn, as what ends its turn.
  void said_markup(std::string text) { add({std::move(text), false, true}); }

  /// One turn: opening, content, closing; of an assistant's turn the last two are its own.
  void turn(std::string opening, std::string text, std::string closing, bool assistant) {
    markup(std::move(opening));
    if (assistant) {
      said(std::move(text));
      said_markup(std::move(closing));
    } else {
      content(std::move(text));
      markup(std::move(closing));
    }
  }

  Pieces take() { return std::move(pieces_); }

 private:
  void add(TextPiece piece) {
    if (piece.text.empty()) return;
    piece.message = message_;
    pieces_.push_back(std::move(piece));
  }
  std::span<const Message> messages_;
  Pieces pieces_;
  int32_t message_ = -1;
};

/// Python's str.strip().
std::string stripped(const std::string& text) {
  const auto is_space = [&](size_t at) {
    const char32_t point = utf8_at(text, at);
    return is_white_space(point) || (0x1c <= point && point <= 0x1f);
  };
  size_t begin = 0;
  while (begin < text.size() && is_space(begin)) begin += utf8_length(text[begin]);
  size_t end = begin;
  for (size_t at = begin; at < text.size();) {
    const bool space = is_space(at);
    at += utf8_length(text[at]);
    if (!space) end = at;
  }
  return text.substr(begin, end - begin);
}

std::string without_feeds_before(std::string text) {
  return text.substr(std::min(text.find_first_not_of('\n'), text.size()));
}

std::string without_feeds_after(std::string text) {
  return text.substr(0, text.find_last_not_of('\n') + 1);
}

bool is_assistant(const Message& message) { return message.role == "assistant"; }

[[noreturn]] void refuse_role(const Message& message, const char* name, const char* known) {
  fail("the chat template {} has no place for the role '{}' here; it takes {}", name,
       io::printable(message.role), known);
}

/// Checks what all templates need, once.
class CheckedRenderer : public ChatRenderer {
 public:
  Pieces render(std::span<const Message> messages, bool prompt) const final {
    if (messages.empty()) fail("a conversation without messages cannot be rendered");
    for (size_t i = 0; i < messages.size(); ++i) {
      if (find_invalid_utf8(messages[i].content) || find_invalid_utf8(messages[i].role)) {
        fail("message {} is not valid UTF-8", i + 1);
      }
    }
    Writer out(messages);
    write(messages, prompt, out);
    return out.take();
  }

 private:
  virtual void write(std::span<const Message> messages, bool prompt, Writer& out) const = 0;
};

void write_chatml_turn(const Message& message, Writer& out) {
  out.begin(message);
  out.markup("<|im_start|>");
  out.content(message.role);
  out.turn("\n", message.content, "<|im_end|>", is_assistant(message));
  out.markup("\n");
}

void write_chatml_system(const std::string& text, Writer& out) {
  out.markup("<|im_start|>system\n" + text + "<|im_end|>\n");
}

class ChatMl : public CheckedRenderer {
 public:
  ChatMl(std::string default_system, std::string opening)
      : default_system_(std::move(default_system)), opening_(std::move(opening)) {}

 private:
  void write(std::span<const Message> messages, bool prompt, Writer& out) const override {
    out.markup(opening_);
    if (!default_system_.empty() && messages[0].role != "system") {
      write_chatml_system(default_system_, out);
    }
    for (const Message& message : messages) write_chatml_turn(message, out);
    if (prompt) out.markup("<|im_start|>assistant\n");
  }

  std::string default_system_;
  std::string opening_;
};

/// Results of tools that follow one another share one turn of the user.
void write_tool_result(std::span<const Message> messages, size_t at, Writer& out) {
  const auto is_tool = [&](size_t i) { return i < messages.size() && messages[i].role == "tool"; };
  out.begin(messages[at]);
  if (at == 0 || !is_tool(at - 1)) out.markup("<|im_start|>user");
  out.turn("\n<tool_response>\n", messages[at].content, "\n</tool_response>", false);
  if (!is_tool(at + 1)) out.markup("<|im_end|>\n");
}

class Qwen25 : public CheckedRenderer {
  void write(std::span<const Message> messages, bool prompt, Writer& out) const override {
    if (messages[0].role != "system") {
      write_chatml_system("You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
                          out);
    }
    for (size_t i = 0; i < messages.size(); ++i) {
      const std::string& role = messages[i].role;
      if (role == "tool") {
        write_tool_result(messages, i, out);
      } else if (role == "user" || role == "system" || role == "assistant") {
        write_chatml_turn(messages[i], out);
      } else {
        refuse_role(messages[i], "qwen2.5", "system, user, assistant and tool");
      }
    }
    if (prompt) out.markup("<|im_start|>assistant\n");
  }
};

class Qwen3 : public CheckedRenderer {
  void write(std::span<const Message> messages, bool prompt, Writer& out) const override {
    const size_t question = last_question(messages);
    for (size_t i = 0; i < messages.size(); ++i) {
      const std::string& role = messages[i].role;
      if (role == "tool") {
        write_tool_result(messages, i, out);
      } else if (role == "user" || role == "system") {
        write_chatml_turn(messages[i], out);
      } else if (role == "assistant") {
        write_answer(messages[i], i > question, i + 1 == messages.size(), out);
      } else {
        refuse_role(messages[i], "qwen3", "system, user, assistant and tool");
      }
    }
    if (prompt) out.markup("<|im_start|>assistant\n");
  }

  /// The last user message that is no tool's result; the last message when there is none.
  static size_t last_question(std::span<const Message> messages) {
    for (size_t i = messages.size(); i-- > 0;) {
      const std::string& content = messages[i].content;
      if (messages[i].role == "user" &&
          !(content.starts_with("<tool_response>") && content.ends_with("</tool_response>"))) {
        return i;
      }
    }
    return messages.size() - 1;
  }

  static void write_answer(const Message& message, bool after_question, bool last, Writer& out) {
    const std::string open = "<think>", close = "</think>";
    out.begin(message);
    std::string content = message.content;
    std::string thought;
    const size_t first_close = content.find(close);
    if (first_close != std::string::npos) {
      thought = without_feeds_after(content.substr(0, first_close));
      const size_t last_open = thought.rfind(open);
      if (last_open != std::string::npos) thought = thought.substr(last_open + open.size());
      thought = without_feeds_before(thought);
      content = without_feeds_before(content.substr(content.rfind(close) + close.size()));
    }
    out.markup("<|im_start|>assistant\n");
    if (after_question && (last || !thought.empty())) {
      out.said_markup(open + "\n");
      out.said(without_feeds_after(without_feeds_before(thought)));
      out.said_markup("\n" + close + "\n\n");
      content = without_feeds_before(content);
    }
    out.said(content);
    out.said_markup("<|im_end|>");
    out.markup("\n");
  }
};

class Llama3 : public CheckedRenderer {
 public:
  Llama3(std::string bos, Llama3Options options) : bos_(std::move(bos)), options_(options) {}

 private:
  void write(std::span<const Message> messages, bool prompt, Writer& out) const override {
    out.markup(bos_);
    if (options_.dated_system) {
      std::string system;
      if (messages[0].role == "system") {
        out.begin(messages[0]);
        system = stripped(messages[0].content);
        messages = messages.subspan(1);
      }
      out.turn(
          "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
          "Today Date: 26 Jul 2024\n\n",
          system, "<|eot_id|>", false);
    }
    for (const Message& message : messages) {
      out.begin(message);
      if (options_.dated_system && (message.role == "tool" || message.role == "ipython")) {
        refuse_role(message, "llama3.1", "system, user and assistant");
      }
      out.markup("<|start_header_id|>");
      out.content(message.role);
      out.turn("<|end_header_id|>\n\n", stripped(message.content), "<|eot_id|>",
               is_assistant(message));
    }
    if (prompt || options_.always_prompts) {
      out.markup("<|start_header_id|>assistant<|end_header_id|>\n\n");
    }
  }

  std::string bos_;
  Llama3Options options_;
};

class Gemma2 : public CheckedRenderer {
 public:
  explicit Gemma2(std::string bos) : bos_(std::move(bos)) {}

 private:
  void write(std::span<const Message> messages, bool prompt, Writer& out) const override {
    out.markup(bos_);
    for (size_t i = 0; i < messages.size(); ++i) {
      const Message& message = messages[i];
      out.begin(message);
      // As the template has it: a user at even places, and there only; at the odd ones any role
      // but these two keeps its name, which no model knows.
      if (message.role != (i % 2 == 0 ? "user" : "assistant")) {
        refuse_role(message, "gemma2", "user and assistant in turns");
      }
      out.turn(is_assistant(message) ? "<start_of_turn>model\n" : "<start_of_turn>user\n",
               stripped(message.content), "<end_of_turn>", is_assistant(message));
      out.markup("\n");
    }
    if (prompt) out.markup("<start_of_turn>model\n");
  }

  std::string bos_;
};

class Phi35 : public CheckedRenderer {
 public:
  explicit Phi35(std::string eos) : eos_(std::move(eos)) {}

 private:
  void write(std::span<const Message> messages, bool prompt, Writer& out) const override {
    for (const Message& message : messages) {
      out.begin(message);
      if (message.role != "system" && message.role != "user" && !is_assistant(message)) {
        refuse_role(message, "phi3.5", "system, user and assistant");
      }
      if (message.role == "system" && message.content.empty()) continue;
      out.turn("<|" + message.role + "|>\n", message.content, "<|end|>", is_assistant(message));
      out.markup("\n");
    }
    out.markup(prompt ? "<|assistant|>\n" : eos_);
  }

  std::string eos_;
};

class Alpaca : public CheckedRenderer {
 public:
  Alpaca(std::string bos, std::string eos) : bos_(std::move(bos)), eos_(std::move(eos)) {}

 private:
  void write(std::span<const Message> messages, bool prompt, Writer& out) const override {
    out.markup(bos_);
    if (messages[0].role == "system") {
      out.begin(messages[0]);
      out.content(messages[0].content);
      messages = messages.subspan(1);
    } else {
      out.markup(
          "Below is an instruction that describes a task. Write a response that appropriately "
          "completes the request.");
    }
    for (const Message& message : messages) {
      out.begin(message);
      if (is_assistant(message)) {
        out.turn("\n\n### Response:\n", message.content, eos_, true);
      } else if (message.role == "user") {
        out.turn("\n\n### Instruction:\n", message.content, "", false);
      } else {
        refuse_role(message, "alpaca", "user and assistant, and system first");
      }
    }
    if (prompt) out.markup("\n\n### Response:\n");
  }

  std::string bos_;
  std::string eos_;
};

}  // namespace

std::shared_ptr<const ChatRenderer> chatml_renderer(std::string default_system,
                                                    std::string opening) {
  return std::make_shared<ChatMl>(std::move(default_system), std::move(opening));
}

std::shared_ptr<const ChatRenderer> qwen2_5_renderer() { return std::make_shared<Qwen25>(); }
std::shared_ptr<const ChatRenderer> qwen3_renderer() { return std::make_shared<Qwen3>(); }

std::shared_ptr<const ChatRenderer> llama3_renderer(std::string bos, Llama3Options options) {
  return std::make_shared<Llama3>(std::move(bos), options);
}

std::shared_ptr<const ChatRenderer> gemma2_renderer(std::string bos) {
  return std::make_shared<Gemma2>(std::move(bos));
}

std::shared_ptr<const ChatRenderer> phi3_5_renderer(std::string eos) {
  return std::make_shared<Phi35>(std::move(eos));
}

std::shared_ptr<const ChatRenderer> alpaca_renderer(std::string bos, std::string eos) {
  return std::make_shared<Alpaca>(std::move(bos), std::move(eos));
}

}  // namespace tessera::launch
