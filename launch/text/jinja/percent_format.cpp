// The operator % on strings.
#include <algorithm>
#include <cmath>

#include "launch/text/jinja/fill_in.h"
#include "launch/text/jinja/format.h"
#include "launch/text/jinja/format_spec.h"
#include "launch/text/jinja/objects.h"
#include "launch/text/jinja/operations.h"
#include "launch/text/jinja/strings.h"
#include "launch/text/tokenizer/tokenizer_text.h"
#include "runtime/io/printable.h"

namespace tessera::launch::jinja {
namespace {

/// One %-sequence.
struct Directive {
  bool left = false, plus = false, space = false, alternate = false, zero = false;
  int64_t width = 0;
  int64_t precision = -1;
  char type = '\0';
};

class PercentFormatter {
 public:
  PercentFormatter(const Text& pattern, const Value& arguments, Budget& budget)
      : pattern_(pattern), arguments_(arguments), budget_(budget) {
    // What can be subscripted may hold more than the pattern takes.
    is_mapping_ = arguments.is(Kind::kList) || arguments.is(Kind::kDict) ||
                  arguments.is_undefined() || arguments.as<Range>();
    if (arguments.is(Kind::kTuple)) {
      list_ = &arguments.items();
    } else {
      single_ = {arguments};
      list_ = &single_;
    }
  }

  Text run() {
    while (at_ < pattern_.size()) {
      const size_t percent = std::min(pattern_.bytes.find('%', at_), pattern_.size());
      out_.append(pattern_, at_, percent);
      at_ = percent;
      if (at_ < pattern_.size()) take_directive();
      if (out_.size() > kMaxTextBytes) budget_.bytes(out_.size());
    }
    if (next_ < list_->size() && !is_mapping_) {
      raise_error("not all arguments converted during string formatting");
    }
    budget_.bytes(out_.size());
    return std::move(out_);
  }

 private:
  char peek() const {
    if (at_ >= pattern_.size()) raise_error("incomplete format");
    return pattern_.bytes[at_];
  }

  bool take(char c) {
    if (peek() != c) return false;
    ++at_;
    return true;
  }

  const Value& next_argument() {
    if (next_ >= list_->size()) raise_error("not enough arguments for format string");
    return (*list_)[next_++];
  }

  void take_key() {
    if (!is_mapping_) raise_error("format requires a mapping");
    const size_t begin = at_;
    for (int open = 1; open > 0; ++at_) {
      if (at_ >= pattern_.size()) raise_error("incomplete format key");
      open += pattern_.bytes[at_] == '(' ? 1 : pattern_.bytes[at_] == ')' ? -1 : 0;
    }
    if (!arguments_.is(Kind::kDict)) raise_error("format requires a mapping");
    const std::string key = pattern_.bytes.substr(begin, at_ - 1 - begin);
    const Value* value = arguments_.dict().find(key);
    if (!value) raise_error("the key '{}' of a format is missing", io::printable(key, 40));
    single_ = {*value};
    list_ = &single_;
    next_ = 0;
  }

  int64_t take_number() {
    if (take('*')) return index_of(next_argument(), "* in a format");
    int64_t number = 0;
    while ('0' <= peek() && peek() <= '9') {
      number = number * 10 + (pattern_.bytes[at_++] - '0');
      if (number > int64_t(kMaxTextBytes)) raise_error("too many digits in a format");
    }
    return number;
  }

  void take_directive() {
    const size_t begin = at_++;
    if (take('(')) take_key();
    Directive directive;
    while (true) {
      if (take('-')) {
        directive.left = true;
      } else if (take('+')) {
        directive.plus = true;
      } else if (take(' ')) {
        directive.space = true;
      } else if (take('#')) {
        directive.alternate = true;
      } else if (take('0')) {
        directive.zero = true;
      } else {
        break;
      }
    }
    directive.width = take_number();
    if (directive.width < 0) {
      directive.left = true;
      directive.width =
          directive.width < -int64_t(kMaxTextBytes) ? int64_t(kMaxTextBytes) : -directive.width;
    }
    if (take('.')) directive.precision = std::max<int64_t>(take_number(), 0);
    if (peek() == 'h' || peek() == 'l' || peek() == 'L') ++at_;
    directive.type = peek();
    ++at_;
    budget_.bytes(size_t(directive.width));
    if (directive.type == '%') {
      out_.append(pattern_, begin, begin + 1);
    } else {
      write(directive, next_argument());
    }
  }

  void write(const Directive& directive, const Value& value) {
    switch (directive.type) {
      case 's':
        return write_text(directive, str_of(value, budget_));
      case 'r':
        return write_text(directive, repr_of(value, budget_));
      case 'a':
        return write_text(directive, ascii_of(value, budget_));
      case 'c':
        return write_text(directive, character(value));
      case 'd':
      case 'i':
      case 'u':
      case 'o':
      case 'x':
      case 'X':
        return write_integer(directive, value);
      case 'e':
      case 'E':
      case 'f':
      case 'F':
      case 'g':
      case 'G':
        return write_float(directive, value);
      default:
        raise_error("unsupported format character '{}'", io::printable({&directive.type, 1}));
    }
  }

  Text character(const Value& value) const {
    if (value.is_string() && count_points(value.bytes()) == 1) return value.text();
    if (!value.is_integer()) raise_error("%c requires int or char");
    const int64_t code = value.integer();
    if (code < 0 || code > 0x10ffff || (0xd800 <= code && code < 0xe000)) {
      raise_error("%c: {} is not a character", code);
    }
    std::string text;
    append_utf8(text, char32_t(code));
    return text;
  }

  void write_text(const Directive& directive, Text text) {
    if (directive.precision >= 0 && directive.type != 'c') {
      text = text.part(0, offset_of(text.bytes, size_t(directive.precision)));
    }
    const int64_t space = directive.width - int64_t(count_points(text.bytes));
    out_.append(pad(text, directive.left ? 0 : space, directive.left ? space : 0, " ", budget_));
  }

  void write_integer(const Directive& directive, const Value& value) {
    const bool decimal = directive.type == 'd' || directive.type == 'i' || directive.type == 'u';
    int64_t number = 0;
    if (value.is_integer()) {
      number = value.integer();
    } else if (decimal && value.is(Kind::kFloat)) {
      if (!(std::abs(value.real()) < 9.2e18)) raise_error("an integer grows beyond 64 bits");
      number = int64_t(value.real());
    } else {
      raise_error("%{} format: a number is required, not {}", directive.type, value.type_name());
    }
    std::string digits = integer_digits(number, decimal ? 'd' : directive.type);
    if (directive.precision > kMaxPrecision) raise_error("too many digits in a format");
    const size_t least = directive.precision < 0 ? 0 : size_t(directive.precision);
    if (digits.size() < least) digits.insert(0, least - digits.size(), '0');
    std::string prefix;
    if (directive.alternate && !decimal) prefix = {'0', directive.type};
    write_number(directive, number < 0, prefix, digits);
  }

  void write_float(const Directive& directive, const Value& value) {
    if (!value.is_number()) raise_error("must be real number, not {}", value.type_name());
    const double number = value.number();
    if (directive.precision > kMaxPrecision) raise_error("too many digits in a format");
    const int precision = directive.precision < 0 ? 6 : int(directive.precision);
    write_number(directive, std::signbit(number) && !std::isnan(number), "",
                 float_digits(std::abs(number), directive.type, precision, directive.alternate));
  }

  void write_number(const Directive& directive, bool negative, const std::string& prefix,
                    const std::string& digits) {
    std::string sign = negative ? "-" : directive.plus ? "+" : directive.space ? " " : "";
    sign += prefix;
    const int64_t space = directive.width - int64_t(sign.size() + digits.size());
    const bool zeros = directive.zero && !directive.left;
    if (!directive.left && !zeros) out_.append(repeat(" ", space, budget_));
    out_.write(sign);
    if (zeros) out_.append(repeat("0", space, budget_));
    out_.write(digits);
    if (directive.left) out_.append(repeat(" ", space, budget_));
  }

  const Text& pattern_;
  const Value& arguments_;
  Budget& budget_;
  bool is_mapping_ = false;
  const List* list_ = nullptr;
  List single_;
  size_t next_ = 0;
  size_t at_ = 0;
  Text out_;
};

}  // namespace

Value percent_format(const Value& pattern, const Value& arguments, Budget& budget) {
  if (pattern.is_markup()) raise_error("formatting escaped HTML is not supported");
  return PercentFormatter(pattern.text(), arguments, budget).run();
}

}  // namespace tessera::launch::jinja
