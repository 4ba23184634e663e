// What a person sees of an answer: on a terminal, thoughts are dimmed. Elsewhere the answer is
// printed as it is.
#pragma once

#include <string>
#include <string_view>

namespace tessera::launch {

/// Words to whoever types, on stderr; in colour where that is a terminal which has it.
void print_hint(std::string_view text);

class ChatScreen {
 public:
  ChatScreen();

  /// `thinking`: the answer begins inside a thought.
  void begin(bool thinking);
  void text(std::string_view text);
  /// The end of the answer and of its line; nothing where none was begun.
  void end();

 private:
  void set_thinking(bool on);
  void print(std::string_view text) const;

  const bool terminal_;
  const bool colours_;
  bool begun_ = false;
  bool thinking_ = false;
  std::string pending_;  // may be the beginning of <think> or </think>
};

}  // namespace tessera::launch
