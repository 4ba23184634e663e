#include "launch/commands/chat_screen.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "launch/console/progress.h"
#include "launch/run/answer_text.h"

namespace tessera::launch {
namespace {

constexpr const char* kDim = "\x1b[2m";
constexpr const char* kBold = "\x1b[1m";
constexpr const char* kPlain = "\x1b[0m";

const std::string kOpens = "<think>", kCloses = "</think>";

/// As https://no-color.org asks: any value but an empty one turns colours off.
bool has_colours(int file) {
  const char* none = std::getenv("NO_COLOR");
  const char* kind = std::getenv("TERM");
  return ::isatty(file) == 1 && !(none && *none) && kind && std::string_view(kind) != "dumb";
}

}  // namespace

void print_hint(std::string_view text) {
  static const bool colours = has_colours(STDERR_FILENO);
  std::string shown(text);
  if (colours) shown = kBold + shown + kPlain;
  std::fwrite(shown.data(), 1, shown.size(), stderr);
  std::fflush(stderr);
}

ChatScreen::ChatScreen()
    : terminal_(::isatty(STDOUT_FILENO) == 1), colours_(has_colours(STDOUT_FILENO)) {}

void ChatScreen::begin(bool thinking) {
  begun_ = true;
  set_thinking(thinking);
}

void ChatScreen::text(std::string_view text) {
  if (!colours_) return print(text);
  pending_ += text;
  while (true) {
    const std::string& mark = thinking_ ? kCloses : kOpens;
    const size_t found = pending_.find(mark);
    if (found == pending_.npos) break;
    const size_t before = thinking_ ? found + mark.size() : found;
    print(std::string_view(pending_).substr(0, before));
    if (!thinking_) {
      set_thinking(true);
      print(mark);
    } else {
      set_thinking(false);
    }
    pending_.erase(0, found + mark.size());
  }
  const std::string& mark = thinking_ ? kCloses : kOpens;
  const size_t sure = pending_.size() - held_back(pending_, {&mark, 1});
  print(std::string_view(pending_).substr(0, sure));
  pending_.erase(0, sure);
}

void ChatScreen::end() {
  if (!begun_) return;
  begun_ = false;
  print(pending_);
  pending_.clear();
  set_thinking(false);
  write_stdout("\n");
}

void ChatScreen::set_thinking(bool on) {
  if (on != thinking_ && colours_) write_stdout(on ? kDim : kPlain);
  thinking_ = on;
}

void ChatScreen::print(std::string_view text) const {
  if (text.empty()) return;
  if (!terminal_) return write_stdout(text);
  // A model's words must not steer the terminal.
  std::string shown(text);
  for (char& c : shown) {
    if ((c >= 0 && c < 0x20 && c != '\n' && c != '\t') || c == 0x7f) c = '?';
  }
  write_stdout(shown);
}

}  // namespace tessera::launch
