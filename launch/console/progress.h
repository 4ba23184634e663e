// What a person sees of long work: one live line on a terminal, plain lines elsewhere. All of it
// goes to stderr, so that commands keep stdout for their results.
#pragma once

#include <fmt/format.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace tessera::launch {

/// Seconds since construction.
class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  }

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

/// Messages to stderr. A live line is overwritten by the next live line and kept clear of messages.
class Console {
 public:
  /// One that does not speak is for ranks other than the first. With `json`, every line is a JSON
  /// object, and there are no live lines.
  explicit Console(bool speaks = true, bool json = false);

  bool is_terminal() const { return terminal_; }
  bool is_json() const { return json_; }
  /// A line that stays; in JSON {"time": ..., "event": "message", "text": ...}.
  void line(const std::string& text);
  /// For JSON alone: {"time": ..., "event": NAME} and what `members`, an object, holds.
  void event(std::string_view name, const nlohmann::ordered_json& members);
  /// Shown on a terminal only, until the next call.
  void live(const std::string& text);

 private:
  bool speaks_;
  bool json_;
  bool terminal_;
  size_t live_width_ = 0;
};

/// An error's message to stderr, each of its lines as one of this program's.
void print_error(std::string_view message);

/// A command's result to stdout, at once. Error when it cannot be written (a full disk).
void write_stdout(std::string_view text);

/// Now, as "2026-11-30T02:03:04Z".
std::string utc_time();
/// "1h05m", "3m20s", "12s".
std::string format_duration(double seconds);
/// "96 KiB", "4.1 MiB", "412 MiB", "1.3 GiB".
std::string format_bytes(int64_t bytes);
/// "4,884,480"
std::string format_count(int64_t n);

}  // namespace tessera::launch
