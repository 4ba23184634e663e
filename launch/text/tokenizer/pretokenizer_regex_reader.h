// Reads a regular expression in Oniguruma's syntax piece by piece.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace tessera::launch {

/// A code point as PCRE2 reads it anywhere in a pattern.
std::string spell_point(char32_t point);

class RegexReader {
 public:
  RegexReader(std::string_view regex, std::string where)
      : regex_(regex), where_(std::move(where)) {}

  bool at_end() const { return at_ == regex_.size(); }
  /// 0 behind the end.
  char char_at(size_t ahead) const {
    return at_ + ahead < regex_.size() ? regex_[at_ + ahead] : char(0);
  }
  char peek() const { return char_at(0); }
  bool starts_with(std::string_view text) const { return regex_.substr(at_).starts_with(text); }
  std::string rest(size_t length) const { return std::string(regex_.substr(at_, length)); }

  void skip(size_t bytes) { at_ += bytes; }
  bool take(std::string_view text);
  bool take(char c) { return take({&c, 1}); }
  /// Error at the end.
  char take_char();
  char32_t take_point();

  /// A backslash and what stands for one code point, as \n or \x{41}; nothing is taken otherwise.
  std::optional<char32_t> take_escaped_point();

  struct Set {
    std::string members;
    bool negated = false;
  };
  /// A backslash and what stands for a set, as \s or \p{L}; nothing is taken otherwise.
  /// `lone`: outside brackets.
  std::optional<Set> take_escaped_set(bool caseless, bool lone);

  struct Interval {
    uint32_t low;
    std::optional<uint32_t> high;
  };
  /// {2}, {2,}, {,3} or {2,3}; nothing is taken where a brace is no quantifier.
  std::optional<Interval> take_interval();

  /// Error for a literal whose cases are more than those of ASCII letters one by one.
  void check_caseless(char32_t before, char32_t point) const;

  [[noreturn]] void refuse(const std::string& what) const;

 private:
  char32_t take_hex(size_t most_digits);

  std::string_view regex_;
  std::string where_;
  size_t at_ = 0;
};

}  // namespace tessera::launch
