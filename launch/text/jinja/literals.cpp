#include "launch/text/jinja/literals.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <limits>

#include "launch/text/jinja/failure.h"
#include "launch/text/jinja/strings.h"
#include "launch/text/tokenizer/tokenizer_text.h"

namespace tessera::launch::jinja {
namespace {

using std::string_view;

/// The value of a digit in any base up to 36, else 99.
int digit_of(char c) {
  if ('0' <= c && c <= '9') return c - '0';
  const char lower = char(c | 0x20);
  return 'a' <= lower && lower <= 'z' ? lower - 'a' + 10 : 99;
}

/// How much of `text` is digits, with single underscores between them.
size_t digits_at(string_view text, size_t at, int base) {
  size_t end = at;
  while (end < text.size()) {
    const size_t digit = end + (end > at && text[end] == '_');
    if (digit >= text.size() || digit_of(text[digit]) >= base) break;
    end = digit + 1;
  }
  return end - at;
}

std::string without_underscores(string_view text) {
  std::string result(text);
  std::erase(result, '_');
  return result;
}

/// Nothing when it is beyond 64 bits.
std::optional<int64_t> value_of_digits(string_view digits, int base, bool negative) {
  int64_t value = 0;
  for (const char c : digits) {
    if (c == '_') continue;
    const int digit = negative ? -digit_of(c) : digit_of(c);
    if (__builtin_mul_overflow(value, int64_t{base}, &value) ||
        __builtin_add_overflow(value, int64_t{digit}, &value)) {
      return std::nullopt;
    }
  }
  return value;
}

int base_of_prefix(string_view text) {
  if (text.size() < 2 || text[0] != '0') return 0;
  const char letter = char(text[1] | 0x20);
  return letter == 'b' ? 2 : letter == 'o' ? 8 : letter == 'x' ? 16 : 0;
}

/// Length of a float at the front of `text`, 0 when none is there.
size_t float_at(string_view text) {
  const size_t whole = digits_at(text, 0, 10);
  size_t end = whole;
  if (end < text.size() && text[end] == '.') {
    const size_t fraction = digits_at(text, end + 1, 10);
    if (fraction > 0) end += 1 + fraction;
  }
  if (end < text.size() && (text[end] | 0x20) == 'e') {
    const size_t sign = end + 1 < text.size() && (text[end + 1] == '+' || text[end + 1] == '-');
    const size_t exponent = digits_at(text, end + 1 + sign, 10);
    if (exponent > 0) end += 1 + sign + exponent;
  }
  return end > whole ? end : 0;
}

double double_of(const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc::result_out_of_range) value = std::strtod(text.c_str(), nullptr);
  return value;
}

void append_escape(std::string& out, string_view text, size_t& at) {
  const char c = text[at++];
  const auto code = [&](size_t most, size_t least, int base) {
    uint32_t value = 0;
    size_t count = 0;
    while (count < most && at < text.size() && digit_of(text[at]) < base) {
      value = value * uint32_t(base) + uint32_t(digit_of(text[at]));
      ++at;
      ++count;
    }
    if (count < least) raise_error("truncated escape \\{} in a string", c);
    if (value > 0x10ffff || (0xd800 <= value && value < 0xe000)) {
      raise_error("an escape \\{} in a string is not a Unicode character", c);
    }
    append_utf8(out, value);
  };
  constexpr string_view kLetters = "abfnrtv\\'\"";
  constexpr string_view kMeanings = "\a\b\f\n\r\t\v\\'\"";
  if (const size_t index = kLetters.find(c); index != string_view::npos) {
    out += kMeanings[index];
  } else if (c == 'x') {
    code(2, 2, 16);
  } else if (c == 'u') {
    code(4, 4, 16);
  } else if (c == 'U') {
    code(8, 8, 16);
  } else if (digit_of(c) < 8) {
    --at;
    code(3, 1, 8);
  } else if (c == 'N') {
    raise_error("the escape \\N in a string is not supported");
  } else if (c != '\n') {  // a line end after a backslash goes, other characters stay
    out += '\\';
    out += c;
  }
}

}  // namespace

NumberLiteral read_number(std::string_view text, bool may_be_float) {
  if (const size_t length = may_be_float ? float_at(text) : 0) {
    return {double_of(without_underscores(text.substr(0, length))), length};
  }
  size_t begin = 0;
  int base = base_of_prefix(text);
  if (base > 0 && text.size() > 2) {  // an underscore may follow the prefix
    begin = 2 + (text[2] == '_');
    if (digits_at(text, begin, base) == 0) begin = 0;
  }
  if (begin == 0) base = 10;
  size_t end = begin + digits_at(text, begin, base);
  if (begin == 0 && text[0] == '0') {  // no digit but 0 may follow a leading 0
    end = 0;
    while (end < text.size() && (text[end] == '0' || (text[end] == '_' && end + 1 < text.size() &&
                                                      text[end + 1] == '0'))) {
      ++end;
    }
  }
  const auto value = value_of_digits(text.substr(begin, end - begin), base, false);
  if (!value)
    raise_error("the integer {} is beyond 64 bits", text.substr(0, std::min<size_t>(end, 40)));
  return {*value, end};
}

std::string unescape(std::string_view text) {
  if (text.find('\\') == string_view::npos) return std::string(text);
  // Python's codec sees ASCII, with escapes in place of all else: one that follows a backslash
  // loses its own.
  std::string ascii;
  for (size_t at = 0; at < text.size(); at += utf8_length(text[at])) {
    const auto code = uint32_t(utf8_at(text, at));
    ascii += code < 0x80      ? std::string(1, text[at])
             : code < 0x100   ? fmt::format("\\x{:02x}", code)
             : code < 0x10000 ? fmt::format("\\u{:04x}", code)
                              : fmt::format("\\U{:08x}", code);
  }
  std::string out;
  for (size_t at = 0; at < ascii.size();) {
    if (ascii[at] == '\\' && at + 1 < ascii.size()) {
      append_escape(out, ascii, ++at);
    } else {
      out += ascii[at++];
    }
  }
  return out;
}

std::optional<int64_t> parse_integer(std::string_view text, int64_t base) {
  if (base != 0 && (base < 2 || base > 36)) return std::nullopt;
  const Text stripped = strip(Text(std::string(text)), std::nullopt, Side::kBoth);
  string_view digits = stripped.bytes;
  const bool negative = digits.starts_with('-');
  if (negative || digits.starts_with('+')) digits.remove_prefix(1);
  const int prefix = base_of_prefix(digits);
  if (prefix > 0 && (base == 0 || base == prefix)) {
    base = prefix;
    digits.remove_prefix(2);
    if (digits.starts_with('_')) digits.remove_prefix(1);
  } else if (base == 0) {
    const bool zero_first = digits.size() > 1 && digits[0] == '0';
    if (zero_first && digits.find_first_not_of("0_") != string_view::npos) return std::nullopt;
    base = 10;
  }
  if (digits.empty() || digits_at(digits, 0, int(base)) != digits.size()) return std::nullopt;
  const auto value = value_of_digits(digits, int(base), negative);
  if (!value) raise_error("an integer grows beyond 64 bits");
  return value;
}

std::optional<double> parse_float(std::string_view text) {
  std::string stripped = strip(Text(std::string(text)), std::nullopt, Side::kBoth).bytes;
  string_view rest = stripped;
  const bool negative = rest.starts_with('-');
  if (negative || rest.starts_with('+')) rest.remove_prefix(1);
  const double sign = negative ? -1 : 1;
  std::string lower(rest);
  for (char& c : lower) c = char(std::tolower(static_cast<unsigned char>(c)));
  if (lower == "inf" || lower == "infinity") return sign * std::numeric_limits<double>::infinity();
  if (lower == "nan") return std::numeric_limits<double>::quiet_NaN();
  const size_t whole = digits_at(rest, 0, 10);
  size_t end = whole;
  size_t fraction = 0;
  if (end < rest.size() && rest[end] == '.') {
    fraction = digits_at(rest, ++end, 10);
    end += fraction;
  }
  if (whole + fraction == 0) return std::nullopt;
  if (end < rest.size() && (rest[end] | 0x20) == 'e') {
    const size_t signs = end + 1 < rest.size() && (rest[end + 1] == '+' || rest[end + 1] == '-');
    const size_t exponent = digits_at(rest, end + 1 + signs, 10);
    if (exponent == 0) return std::nullopt;
    end += 1 + signs + exponent;
  }
  if (end != rest.size()) return std::nullopt;
  return sign * double_of(without_underscores(rest));
}

}  // namespace tessera::launch::jinja
