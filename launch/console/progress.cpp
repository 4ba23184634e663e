#include "launch/console/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>

#include "launch/console/json_event.h"
#include "runtime/core/error.h"

namespace tessera::launch {

namespace {

/// Whoever read stderr may be gone (`train 2>&1 | head`); that is no reason to end a run.
void write_stderr(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

}  // namespace

Console::Console(bool speaks, bool json)
    : speaks_(speaks), json_(json), terminal_(speaks && !json && isatty(STDERR_FILENO) == 1) {}

void Console::event(std::string_view name, const nlohmann::ordered_json& members) {
  if (speaks_) write_stderr(json_event(name, members) + "\n");
}

void Console::line(const std::string& text) {
  if (!speaks_) return;
  if (json_) return event("message", {{"text", text}});
  live("");
  write_stderr(text + "\n");
}

void Console::live(const std::string& text) {
  if (!terminal_) return;
  const std::string blank(live_width_ > text.size() ? live_width_ - text.size() : 0, ' ');
  write_stderr(fmt::format("\r{}{}{}", text, blank, text.empty() ? "\r" : ""));
  live_width_ = text.size();
}

void print_error(std::string_view message) {
  std::string text = "tessera: ";
  for (const char c : message) {
    text += c;
    if (c == '\n') text += "tessera: ";
  }
  write_stderr(text + "\n");
}

void write_stdout(std::string_view text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (!written || std::fflush(stdout) != 0) {
    fail("cannot write to standard output: {}", std::strerror(errno));
  }
}

std::string utc_time() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts)};
}

std::string format_duration(double seconds) {
  const int64_t s = int64_t(std::max(0.0, seconds) + 0.5);
  if (s >= 3600) return fmt::format("{}h{:02}m", s / 3600, s % 3600 / 60);
  if (s >= 60) return fmt::format("{}m{:02}s", s / 60, s % 60);
  return fmt::format("{}s", s);
}

std::string format_bytes(int64_t bytes) {
  const double mib = double(bytes) / (1 << 20);
  if (mib >= 1024) return fmt::format("{:.1f} GiB", mib / 1024);
  if (mib >= 10) return fmt::format("{:.0f} MiB", mib);
  return mib >= 1 ? fmt::format("{:.1f} MiB", mib) : fmt::format("{:.0f} KiB", mib * 1024);
}

std::string format_count(int64_t n) {
  std::string digits = std::to_string(n);
  for (int64_t i = int64_t(digits.size()) - 3; i > 0; i -= 3) digits.insert(size_t(i), ",");
  return digits;
}

}  // namespace tessera::launch
