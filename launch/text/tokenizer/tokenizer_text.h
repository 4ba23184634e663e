// Text as the tokenizer handles it: UTF-8 that was checked once, every byte with the place in the
// caller's text that it came from. The functions below take valid UTF-8 unless they say otherwise.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "launch/text/tokenizer/tokenizer_unicode.h"

namespace tessera::launch {

/// A part of an AlignedText; `origin` holds text.size() offsets.
struct AlignedView {
  std::string_view text;
  const int64_t* origin = nullptr;

  AlignedView part(size_t begin, size_t end) const {
    return {text.substr(begin, end - begin), origin + begin};
  }
};

struct AlignedText {
  std::string text;
  std::vector<int64_t> origin;  // of each byte, non-decreasing

  AlignedView view() const { return {text, origin.data()}; }
  void append(AlignedView part) {
    text += part.text;
    origin.insert(origin.end(), part.origin, part.origin + part.text.size());
  }
  /// All bytes of `added` come from one place.
  void append(std::string_view added, int64_t from) {
    text += added;
    origin.insert(origin.end(), added.size(), from);
  }
};

/// Bytes of the code point that starts with `lead`.
constexpr size_t utf8_length(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

/// Start of the code point that ends before `at`, which is not 0.
size_t previous_point(std::string_view text, size_t at);

/// The code point at `at`.
char32_t utf8_at(std::string_view text, size_t at);
void append_utf8(std::string& text, char32_t point);

/// How the bytes at the front of a text stand, for any bytes: a whole code point, an ill-formed
/// sequence (its maximal part, which becomes one U+FFFD, as Unicode and Rust have it), or the
/// beginning of a code point that the text ends in.
struct Utf8Front {
  enum class Kind { kPoint, kBroken, kCut };
  Kind kind = Kind::kPoint;
  size_t length = 0;
};
Utf8Front utf8_front(std::string_view bytes);

/// Offset of the first byte that is not part of valid UTF-8, for any bytes.
std::optional<size_t> find_invalid_utf8(std::string_view bytes);

/// Moves what is certain from the front of `bytes` to `text`, U+FFFD for what is broken; with
/// `last`, a code point cut short counts as broken, and nothing is left.
void take_utf8(std::string& bytes, std::string& text, bool last);

/// `text` with `to` for each `from`, which is not empty.
std::string replaced(std::string_view text, std::string_view from, std::string_view to);

inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

}  // namespace tessera::launch
