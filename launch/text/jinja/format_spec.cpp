#include "launch/text/jinja/format_spec.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "launch/text/jinja/format.h"
#include "launch/text/jinja/strings.h"
#include "launch/text/tokenizer/tokenizer_text.h"
#include "runtime/io/printable.h"

namespace tessera::launch::jinja {
namespace {

using std::string_view;

struct Spec {
  std::string fill = " ";
  char align = '\0';
  char sign = '-';
  bool alternate = false;
  bool zero = false;
  int64_t width = 0;
  char grouping = '\0';
  int64_t precision = -1;
  char type = '\0';
};

bool is_align(char c) { return c == '<' || c == '>' || c == '=' || c == '^'; }

/// The number at the front of `text`, which is taken off; -1 when none is there.
int64_t take_number(string_view& text) {
  int64_t number = -1;
  while (!text.empty() && '0' <= text[0] && text[0] <= '9') {
    number = std::max<int64_t>(number, 0) * 10 + (text[0] - '0');
    if (number > int64_t(kMaxTextBytes)) raise_error("too many digits in a format");
    text.remove_prefix(1);
  }
  return number;
}

bool take_char(string_view& text, char c) {
  if (!text.starts_with(c)) return false;
  text.remove_prefix(1);
  return true;
}

Spec parse_spec(string_view text) {
  const string_view whole = text;
  Spec spec;
  const size_t first = text.empty() ? 0 : utf8_length(text[0]);
  if (first < text.size() && is_align(text[first])) {
    spec.fill = text.substr(0, first);
    spec.align = text[first];
    text.remove_prefix(first + 1);
  } else if (!text.empty() && is_align(text[0])) {
    spec.align = text[0];
    text.remove_prefix(1);
  }
  const bool has_fill = spec.align != '\0' && whole[0] != spec.align;
  if (!text.empty() && (text[0] == '+' || text[0] == '-' || text[0] == ' ')) {
    spec.sign = text[0];
    text.remove_prefix(1);
  }
  spec.alternate = take_char(text, '#');
  spec.zero = take_char(text, '0');
  if (spec.zero && !has_fill) spec.fill = "0";
  spec.width = std::max<int64_t>(take_number(text), 0);
  if (take_char(text, ',')) spec.grouping = ',';
  if (take_char(text, '_')) {
    if (spec.grouping) raise_error("cannot specify both ',' and '_'");
    spec.grouping = '_';
  }
  if (take_char(text, '.')) {
    spec.precision = take_number(text);
    if (spec.precision < 0) raise_error("format specifier missing precision");
  }
  if (text.size() > 1) raise_error("invalid format specifier '{}'", io::printable(whole, 40));
  if (!text.empty()) spec.type = text[0];
  return spec;
}

[[noreturn]] void fail_type(const Spec& spec, const Value& value) {
  raise_error("unknown format code '{}' for object of type '{}'", io::printable({&spec.type, 1}),
              value.type_name());
}

Text align_text(const Text& text, const Spec& spec, char standard, Budget& budget) {
  const int64_t space = std::max<int64_t>(spec.width - int64_t(count_points(text.bytes)), 0);
  const char align = spec.align ? spec.align : standard;
  const int64_t left = align == '>' ? space : align == '^' ? space / 2 : 0;
  return pad(text, left, space - left, spec.fill, budget);
}

Text format_text(const Value& value, const Spec& spec, Budget& budget) {
  if (spec.type != '\0' && spec.type != 's') fail_type(spec, value);
  if (spec.sign != '-') raise_error("sign not allowed in string format specifier");
  if (spec.alternate) raise_error("alternate form not allowed in string format specifier");
  if (spec.align == '=') raise_error("'=' alignment not allowed in string format specifier");
  if (spec.grouping) raise_error("cannot specify '{}' with 's'", spec.grouping);
  Text text = value.text();
  if (spec.precision >= 0) text = text.part(0, offset_of(text.bytes, size_t(spec.precision)));
  return align_text(text, spec, '<', budget);
}

/// Puts `spec.grouping` between each `size` digits before the point.
std::string group_digits(const std::string& digits, const Spec& spec, size_t size) {
  if (!spec.grouping) return digits;
  const size_t end = std::min(digits.find_first_not_of("0123456789abcdefABCDEF"), digits.size());
  std::string grouped;
  for (size_t i = 0; i < end; ++i) {
    if (i > 0 && (end - i) % size == 0) grouped += spec.grouping;
    grouped += digits[i];
  }
  return grouped + digits.substr(end);
}

Text format_number(bool negative, const std::string& prefix, const std::string& digits,
                   const Spec& spec, Budget& budget) {
  if (spec.grouping && spec.zero && spec.width > 0) {
    raise_error("a format with leading zeros and a thousands separator is not supported");
  }
  std::string sign = negative ? "-" : spec.sign == '-' ? "" : std::string(1, spec.sign);
  sign += prefix;
  const bool after_sign = spec.align == '=' || (spec.align == '\0' && spec.zero);
  if (!after_sign) return align_text(sign + digits, spec, '>', budget);
  const auto space = spec.width - int64_t(sign.size() + digits.size());
  Text text = sign;
  text.append(repeat(spec.fill, space, budget));
  text.write(digits);
  return text;
}

Text format_float(const Value& value, const Spec& spec, Budget& budget) {
  double number = value.number();
  const bool percent = spec.type == '%';
  if (percent) number *= 100;
  if (spec.type != '\0' && string_view("eEfFgG%").find(spec.type) == string_view::npos) {
    fail_type(spec, value);
  }
  const bool negative = std::signbit(number) && !std::isnan(number);
  const double size = std::abs(number);
  if (spec.precision > kMaxPrecision) raise_error("too many digits in a format");
  std::string digits;
  if (spec.type == '\0' && spec.precision < 0) {
    digits = float_repr(size);
  } else if (spec.type == '\0') {
    // Like g, but never looking like an integer: one digit less before the exponent comes.
    const int precision = int(std::max<int64_t>(spec.precision, 1));
    digits = float_digits(size, 'g', precision, spec.alternate);
    const bool plain = digits.find_first_not_of("0123456789") == std::string::npos;
    if (plain && int(digits.size()) >= precision && size != 0 &&
        std::floor(std::log10(size)) + 1 > precision - 1) {
      digits = float_digits(size, 'e', precision - 1, spec.alternate);
      const size_t exponent = digits.find('e');
      std::string front = digits.substr(0, exponent);
      while (front.find('.') != std::string::npos && (front.back() == '0' || front.back() == '.')) {
        const bool point = front.back() == '.';
        front.pop_back();
        if (point) break;
      }
      digits = front + digits.substr(exponent);
    } else if (plain) {
      digits += ".0";
    }
  } else {
    digits = float_digits(size, percent ? 'f' : spec.type,
                          spec.precision < 0 ? 6 : int(spec.precision), spec.alternate);
  }
  return format_number(negative, "", group_digits(digits, spec, 3) + (percent ? "%" : ""), spec,
                       budget);
}

Text format_integer(const Value& value, const Spec& spec, Budget& budget) {
  if (spec.type != '\0' && string_view("eEfFgG%").find(spec.type) != string_view::npos) {
    return format_float(value, spec, budget);
  }
  if (spec.type != '\0' && string_view("bdoxX").find(spec.type) == string_view::npos) {
    fail_type(spec, value);
  }
  if (spec.precision >= 0) raise_error("precision not allowed in integer format specifier");
  const char type = spec.type ? spec.type : 'd';
  if (spec.grouping == ',' && type != 'd') raise_error("cannot specify ',' with '{}'", type);
  const std::string prefix = spec.alternate && type != 'd' ? std::string{'0', type} : "";
  const std::string digits = integer_digits(value.integer(), type);
  return format_number(value.integer() < 0, prefix, group_digits(digits, spec, type == 'd' ? 3 : 4),
                       spec, budget);
}

}  // namespace

std::string float_digits(double number, char type, int precision, bool keep_point) {
  const bool upper = type == 'E' || type == 'F' || type == 'G';
  if (std::isnan(number)) return upper ? "NAN" : "nan";
  if (std::isinf(number)) return upper ? "INF" : "inf";
  const char format[] = {'%',
                         keep_point ? '#' : '.',
                         keep_point ? '.' : '*',
                         keep_point ? '*' : type,
                         keep_point ? type : '\0',
                         '\0'};
  std::string digits(size_t(precision) + 350, '\0');
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
  const int size = std::snprintf(digits.data(), digits.size(), format, precision, number);
#pragma GCC diagnostic pop
  digits.resize(size_t(size));
  return digits;
}

std::string integer_digits(int64_t number, char type) {
  const uint64_t size = number < 0 ? uint64_t{0} - uint64_t(number) : uint64_t(number);
  switch (type) {
    case 'b':
      return fmt::format("{:b}", size);
    case 'o':
      return fmt::format("{:o}", size);
    case 'x':
      return fmt::format("{:x}", size);
    case 'X':
      return fmt::format("{:X}", size);
    default:
      return fmt::format("{}", size);
  }
}

Text format_value(const Value& value, std::string_view spec, Budget& budget) {
  if (spec.empty()) return str_of(value, budget);
  const Spec parsed = parse_spec(spec);
  budget.bytes(size_t(parsed.width));
  if (value.is_string()) return format_text(value, parsed, budget);
  if (value.is_integer()) return format_integer(value, parsed, budget);
  if (value.is(Kind::kFloat)) return format_float(value, parsed, budget);
  raise_error("unsupported format string passed to {}.__format__", value.type_name());
}

}  // namespace tessera::launch::jinja
