// Messages and commands from standard input: a line each, or several lines between two """.
#pragma once

#include <optional>
#include <string>

namespace tessera::launch {

class ChatInput {
 public:
  ChatInput();

  struct Entry {
    std::string text;
    bool quoted = false;  // stood between """: never a command
  };
  /// The next that is not blank; nothing at the end of the input. On a terminal it asks for one on
  /// stderr, and Ctrl-C drops what was typed; elsewhere a signal is an Error.
  std::optional<Entry> next();

  /// Whether somebody types.
  bool is_terminal() const { return terminal_; }

 private:
  enum class Read { kLine, kEnd, kInterrupted };
  Read read_line(std::string& line, const char* ask);
  /// Reads on behind an opening """, until a line that ends with another.
  Read read_quoted(std::string& text);

  const bool terminal_;
  std::string buffer_;  // read and not taken yet
  bool ended_ = false;
};

}  // namespace tessera::launch
