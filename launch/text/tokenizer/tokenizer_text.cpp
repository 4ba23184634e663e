#include "launch/text/tokenizer/tokenizer_text.h"

namespace tessera::launch {

size_t previous_point(std::string_view text, size_t at) {
  do {
    --at;
  } while ((static_cast<unsigned char>(text[at]) & 0xc0) == 0x80);
  return at;
}

char32_t utf8_at(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return char32_t(static_cast<unsigned char>(text[at + i])); };
  switch (utf8_length(text[at])) {
    case 1:
      return byte(0);
    case 2:
      return (byte(0) & 0x1f) << 6 | (byte(1) & 0x3f);
    case 3:
      return (byte(0) & 0x0f) << 12 | (byte(1) & 0x3f) << 6 | (byte(2) & 0x3f);
    default:
      return (byte(0) & 0x07) << 18 | (byte(1) & 0x3f) << 12 | (byte(2) & 0x3f) << 6 |
             (byte(3) & 0x3f);
  }
}

void append_utf8(std::string& text, char32_t point) {
  const auto tail = [&](int shift) { text += char(0x80 | ((point >> shift) & 0x3f)); };
  if (point < 0x80) {
    text += char(point);
  } else if (point < 0x800) {
    text += char(0xc0 | point >> 6);
    tail(0);
  } else if (point < 0x10000) {
    text += char(0xe0 | point >> 12);
    tail(6);
    tail(0);
  } else {
    text += char(0xf0 | point >> 18);
    tail(12);
    tail(6);
    tail(0);
  }
}

Utf8Front utf8_front(std::string_view bytes) {
  using Kind = Utf8Front::Kind;
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return {Kind::kPoint, 1};
  if (lead < 0xc2 || lead > 0xf4) return {Kind::kBroken, 1};
  const size_t length = utf8_length(bytes[0]);
  // The second byte's range excludes overlong forms, surrogates and what lies above U+10FFFF.
  const unsigned low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  const unsigned high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  for (size_t i = 1; i < length; ++i) {
    if (i == bytes.size()) return {Kind::kCut, i};
    const bool fits = i == 1 ? low <= byte(i) && byte(i) <= high : (byte(i) & 0xc0) == 0x80;
    if (!fits) return {Kind::kBroken, i};
  }
  return {Kind::kPoint, length};
}

std::optional<size_t> find_invalid_utf8(std::string_view bytes) {
  for (size_t at = 0; at < bytes.size();) {
    const Utf8Front front = utf8_front(bytes.substr(at));
    if (front.kind != Utf8Front::Kind::kPoint) return at;
    at += front.length;
  }
  return std::nullopt;
}

void take_utf8(std::string& bytes, std::string& text, bool last) {
  size_t at = 0;
  while (at < bytes.size()) {
    const std::string_view rest = std::string_view(bytes).substr(at);
    const Utf8Front front = utf8_front(rest);
    if (front.kind == Utf8Front::Kind::kPoint) {
      text += rest.substr(0, front.length);
    } else if (front.kind == Utf8Front::Kind::kBroken || last) {
      text += kReplacement;
    } else {
      break;
    }
    at += front.length;
  }
  bytes.erase(0, at);
}

std::string replaced(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  size_t begin = 0;
  for (size_t at; (at = text.find(from, begin)) != std::string_view::npos;) {
    out.append(text, begin, at - begin).append(to);
    begin = at + from.size();
  }
  return out.append(text, begin);
}

}  // namespace tessera::launch
