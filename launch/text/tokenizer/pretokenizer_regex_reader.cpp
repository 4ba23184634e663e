#include "launch/text/tokenizer/pretokenizer_regex_reader.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "launch/text/tokenizer/pretokenizer_classes.h"
#include "launch/text/tokenizer/tokenizer_text.h"
#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::launch {

std::string spell_point(char32_t point) {
  const bool plain = point < 0x80 && std::isalnum(int(point));
  return plain ? std::string(1, char(point)) : fmt::format("\\x{{{:x}}}", uint32_t(point));
}

void RegexReader::refuse(const std::string& what) const {
  fail("{}: the regular expression '{}' is not supported: {} at byte {}", where_,
       io::printable(regex_), io::printable(what), at_);
}

bool RegexReader::take(std::string_view text) {
  if (!starts_with(text)) return false;
  at_ += text.size();
  return true;
}

char RegexReader::take_char() {
  if (at_end()) refuse("it ends too early");
  return regex_[at_++];
}

char32_t RegexReader::take_point() {
  if (at_end()) refuse("it ends too early");
  const char32_t point = utf8_at(regex_, at_);
  at_ += utf8_length(regex_[at_]);
  return point;
}

char32_t RegexReader::take_hex(size_t most_digits) {
  char32_t value = 0;
  size_t digits = 0;
  while (digits < most_digits && std::isxdigit(uint8_t(peek()))) {
    const char c = take_char();
    const int digit = std::isdigit(uint8_t(c)) ? c - '0' : std::tolower(uint8_t(c)) - 'a' + 10;
    value = value * 16 + char32_t(digit);
    ++digits;
  }
  if (digits == 0 || value > 0x10ffff || (0xd800 <= value && value <= 0xdfff)) {
    refuse("an escape that is no code point");
  }
  return value;
}

std::optional<char32_t> RegexReader::take_escaped_point() {
  if (peek() != '\\') return std::nullopt;
  const char c = char_at(1);
  const auto simple = [&](char32_t point) {
    skip(2);
    return point;
  };
  switch (c) {
    case 0:
      refuse("it ends with a backslash");
    case 't':
      return simple(0x9);
    case 'n':
      return simple(0xa);
    case 'v':
      return simple(0xb);
    case 'f':
      return simple(0xc);
    case 'r':
      return simple(0xd);
    case 'a':
      return simple(0x7);
    case 'e':
      return simple(0x1b);
    case 'u': {
      skip(2);
      const size_t begin = at_;
      const char32_t point = take_hex(4);
      if (at_ != begin + 4) refuse("'\\u' without four digits");
      return point;
    }
    case 'x': {
      skip(2);
      if (!take('{')) {
        const char32_t point = take_hex(2);
        if (point >= 0x80) refuse("'\\x' of a byte that is no character");
        return point;
      }
      const char32_t point = take_hex(8);
      if (!take('}')) refuse("'\\x{' without '}'");
      return point;
    }
    default:
      if (std::isalnum(uint8_t(c))) return std::nullopt;
      skip(1);
      return take_point();
  }
}

std::optional<RegexReader::Set> RegexReader::take_escaped_set(bool caseless, bool lone) {
  if (peek() != '\\') return std::nullopt;
  const char c = char_at(1);
  const char lower = char(std::tolower(uint8_t(c)));
  if (const auto members = escape_members(lower)) {
    skip(2);
    if (caseless && lower == 'w') refuse("'\\w' without regard to case");
    return Set{lone && lower == 'w' ? lone_word_members() : *members, c != lower};
  }
  if (lower != 'p') return std::nullopt;
  skip(2);
  if (!take('{')) refuse("'\\p' without '{'");
  Set set;
  set.negated = take('^') != (c == 'P');
  std::string name;
  while (!take('}')) name += take_char();
  const auto members = property_members(name);
  if (!members) refuse(fmt::format("the property '{}'", name));
  if (caseless) refuse(fmt::format("the property '{}' without regard to case", name));
  const bool word = members == escape_members('w');
  set.members = lone && word ? lone_word_members() : *members;
  return set;
}

std::optional<RegexReader::Interval> RegexReader::take_interval() {
  if (peek() != '{') return std::nullopt;
  size_t ahead = 1;
  const auto number = [&]() -> std::optional<uint32_t> {
    std::optional<uint32_t> value;
    for (; std::isdigit(uint8_t(char_at(ahead))); ++ahead) {
      value = std::min(value.value_or(0) * 10 + uint32_t(char_at(ahead) - '0'), 1u << 20);
    }
    return value;
  };
  const auto low = number();
  auto high = low;
  if (char_at(ahead) == ',') {
    ++ahead;
    high = number();
    if (!low && !high) return std::nullopt;
  }
  if (char_at(ahead) != '}' || (!low && !high)) return std::nullopt;
  constexpr uint32_t kMost = 1000;
  if (low.value_or(0) > high.value_or(kMost) || high.value_or(0) > kMost) {
    refuse("a quantifier that is out of order or more than 1000");
  }
  skip(ahead + 1);
  return Interval{low.value_or(0), high};
}

void RegexReader::check_caseless(char32_t before, char32_t point) const {
  if (point >= 0x80) refuse("a letter beyond ASCII without regard to case");
  // Pairs of letters that also match one character, as "ss" matches U+00DF.
  constexpr std::array<std::string_view, 5> kPairs = {"ss", "ff", "fi", "fl", "st"};
  if (before == 0) return;
  const char pair[] = {char(std::tolower(int(before))), char(std::tolower(int(point)))};
  if (std::find(kPairs.begin(), kPairs.end(), std::string_view(pair, 2)) != kPairs.end()) {
    refuse("letters without regard to case that one character may stand for");
  }
}

}  // namespace tessera::launch
