#include "launch/commands/chat_input.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "launch/commands/chat_screen.h"
#include "launch/machine/signals.h"
#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

constexpr std::string_view kQuotes = "\"\"\"";
constexpr size_t kLongestEntry = size_t{16} << 20;
constexpr int kPauseMs = 500;  // between two looks for a signal

}  // namespace

ChatInput::ChatInput() : terminal_(::isatty(STDIN_FILENO) == 1) {}

std::optional<ChatInput::Entry> ChatInput::next() {
  while (true) {
    Entry entry;
    Read read = read_line(entry.text, ">>> ");
    entry.quoted = read == Read::kLine && entry.text.starts_with(kQuotes);
    if (entry.quoted) read = read_quoted(entry.text);
    if (read == Read::kEnd) {
      if (entry.quoted) fail("the input ends inside a message that {} begins", kQuotes);
      if (terminal_) print_hint("\n");
      return std::nullopt;
    }
    if (read == Read::kInterrupted) {
      print_hint("\n(Ctrl-D or /quit leaves)\n");
      continue;
    }
    if (entry.text.find_first_not_of(" \t\n") != std::string::npos) return entry;
  }
}

ChatInput::Read ChatInput::read_quoted(std::string& text) {
  text.erase(0, kQuotes.size());
  bool first = true;  // what follows the quotes on their line is no line of its own where empty
  while (!text.ends_with(kQuotes)) {
    std::string line;
    if (const Read read = read_line(line, "... "); read != Read::kLine) return read;
    if (!first || !text.empty()) text += '\n';
    first = false;
    text += line;
    if (text.size() > kLongestEntry) fail("the message is longer than 16 MiB");
  }
  text.resize(text.size() - kQuotes.size());
  if (text.ends_with('\n')) text.pop_back();
  return Read::kLine;
}

ChatInput::Read ChatInput::read_line(std::string& line, const char* ask) {
  const StopSignals signals;
  if (terminal_) print_hint(ask);
  std::array<char, 4096> chunk;
  for (size_t end; (end = buffer_.find('\n')) == buffer_.npos && !ended_;) {
    if (const int signal = StopSignals::received()) {
      if (signal != SIGINT || !terminal_) fail("stopped by a signal");
      buffer_.clear();
      return Read::kInterrupted;
    }
    if (buffer_.size() > kLongestEntry) fail("the line is longer than 16 MiB");
    pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
    if (::poll(&input, 1, kPauseMs) <= 0) continue;
    const ssize_t n = ::read(STDIN_FILENO, chunk.data(), chunk.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("cannot read standard input: {}", std::strerror(errno));
    if (n == 0) ended_ = true;
    buffer_.append(chunk.data(), size_t(n));
  }
  if (buffer_.empty()) return Read::kEnd;
  const size_t end = std::min(buffer_.find('\n'), buffer_.size());
  line = buffer_.substr(0, end);
  buffer_.erase(0, end + 1);
  if (line.ends_with('\r')) line.pop_back();
  return Read::kLine;
}

}  // namespace tessera::launch
