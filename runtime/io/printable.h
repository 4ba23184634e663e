// Text of a file that goes into an error message: one line, of bounded length.
#pragma once

#include <string>
#include <string_view>

namespace tessera::io {

/// `text` with control characters replaced by '?', cut after about `limit` bytes.
inline std::string printable(std::string_view text, size_t limit = 120) {
  const bool cut = text.size() > limit;
  size_t end = cut ? limit : text.size();
  while (cut && end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0u) == 0x80u) --end;
  std::string line(text.substr(0, end));
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return cut ? line + "..." : line;
}

inline bool has_control_characters(std::string_view text) {
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return true;
  }
  return false;
}

}  // namespace tessera::io
