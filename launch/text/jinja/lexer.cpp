#include "launch/text/jinja/lexer.h"

#include <algorithm>
#include <charconv>

#include "launch/text/jinja/characters.h"
#include "launch/text/jinja/failure.h"
#include "launch/text/jinja/literals.h"
#include "launch/text/jinja/strings.h"
#include "launch/text/tokenizer/tokenizer_text.h"
#include "runtime/io/printable.h"

namespace tessera::launch::jinja {
namespace {

using std::string_view;

constexpr size_t kNone = string_view::npos;

// The longer ones first, for the first that fits is taken.
constexpr string_view kOperators[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                      "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                      ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};

bool starts_name(char c) { return ('a' <= (c | 0x20) && (c | 0x20) <= 'z') || c == '_'; }
bool continues_name(char c) { return starts_name(c) || ('0' <= c && c <= '9'); }

class Lexer {
 public:
  Lexer(string_view source, int& line) : source_(source), line_(line) { line_ = 1; }

  std::vector<Token> run() {
    while (at_ < source_.size()) {
      const size_t tag = find_tag();
      if (tag == kNone) {
        add_text(source_.substr(at_));
        advance(source_.size());
        break;
      }
      take_tag(tag);
    }
    add(Token::Kind::kEnd, {});
    return std::move(tokens_);
  }

 private:
  /// Where a tag or a comment begins.
  size_t find_tag() const {
    for (size_t at = source_.find('{', at_); at != kNone; at = source_.find('{', at + 1)) {
      const char next = at + 1 < source_.size() ? source_[at + 1] : '\0';
      if (next == '%' || next == '{' || next == '#') return at;
    }
    return kNone;
  }

  void advance(size_t to) {
    line_ += int(std::count(source_.begin() + at_, source_.begin() + to, '\n'));
    line_starts_ = to > at_ && source_[to - 1] == '\n';
    at_ = to;
  }

  void add(Token::Kind kind, string_view text, Value constant = {}) {
    tokens_.push_back({kind, line_, text, std::move(constant)});
  }

  void add_text(string_view text) {
    if (!text.empty()) add(Token::Kind::kText, text);
  }

  bool at(string_view what, size_t where) const {
    return where <= source_.size() && source_.substr(where, what.size()) == what;
  }

  size_t skip_space(size_t where) const {
    while (where < source_.size() && is_python_space(utf8_at(source_, where))) {
      where += utf8_length(source_[where]);
    }
    return where;
  }

  /// The text before a tag, as far as the tag's `sign` or lstrip_blocks leave it.
  string_view before_tag(size_t tag, char sign, bool is_variable) const {
    string_view text = source_.substr(at_, tag - at_);
    if (sign == '-') {
      const Text whole{std::string(text)};
      return text.substr(0, strip(whole, std::nullopt, Side::kRight).size());
    }
    if (sign == '+' || is_variable) return text;
    const size_t newline = text.rfind('\n');
    if (newline == kNone && !line_starts_) return text;
    const size_t begin = newline == kNone ? 0 : newline + 1;
    return skip_space(at_ + begin) >= tag ? text.substr(0, begin) : text;
  }

  char sign_at(size_t where) const {
    const char c = where < source_.size() ? source_[where] : '\0';
    return c == '-' || c == '+' ? c : '\0';
  }

  void take_tag(size_t tag) {
    const char kind = source_[tag + 1];
    const char sign = sign_at(tag + 2);
    const size_t inside = tag + 2 + (sign != '\0');
    add_text(before_tag(tag, sign, kind == '{'));
    advance(tag);
    if (kind == '#') {
      take_comment(inside);
    } else if (kind == '%' && raw_begins(inside)) {
      take_raw(raw_begins(inside));
    } else {
      const bool is_block = kind == '%';
      add(is_block ? Token::Kind::kBlockBegin : Token::Kind::kVariableBegin, {});
      advance(inside);
      take_expression(is_block);
    }
  }

  /// Past the end of a tag at `where`: `close`, or "-" and `close` and space, or "+" and `close`.
  /// kNone when no end is there.
  size_t past_end(string_view close, size_t where, bool trims) const {
    if (at(close, where)) {
      const size_t end = where + close.size();
      return end + (trims && at("\n", end));
    }
    if (!at(close, where + 1)) return kNone;
    if (at("-", where)) return skip_space(where + 1 + close.size());
    return trims && at("+", where) ? where + 1 + close.size() : kNone;
  }

  void take_comment(size_t inside) {
    if (inside == source_.size()) return advance(inside);  // nothing is missing then, nor of a raw
    for (size_t where = inside; where < source_.size(); ++where) {
      const size_t end = past_end("#}", where, true);
      if (end == kNone) continue;
      advance(end);
      return;
    }
    raise_error("Missing end of comment tag");
  }

  /// Past "raw %}" at `inside`, or 0.
  size_t raw_begins(size_t inside) const {
    size_t where = skip_space(inside);
    if (!at("raw", where)) return 0;
    where = skip_space(where + 3);
    if (at("%}", where)) return where + 2;
    return at("-%}", where) ? skip_space(where + 3) : 0;
  }

  void take_raw(size_t inside) {
    advance(inside);
    if (inside == source_.size()) return;
    for (size_t tag = source_.find("{%", at_); tag != kNone; tag = source_.find("{%", tag + 1)) {
      const char sign = sign_at(tag + 2);
      size_t where = skip_space(tag + 2 + (sign != '\0'));
      if (!at("endraw", where)) continue;
      where = skip_space(where + 6);
      const size_t end = past_end("%}", where, true);
      if (end == kNone) continue;
      add_text(before_tag(tag, sign, false));
      advance(end);
      return;
    }
    raise_error("Missing end of raw directive");
  }

  void take_expression(bool is_block) {
    const string_view close = is_block ? "%}" : "}}";
    while (true) {
      if (open_.empty()) {
        if (const size_t end = past_end(close, at_, is_block); end != kNone) {
          add(is_block ? Token::Kind::kBlockEnd : Token::Kind::kVariableEnd, {});
          advance(end);
          return;
        }
      }
      if (at_ == source_.size()) raise_error("unexpected end of template in a tag");
      take_token();
    }
  }

  void take_token() {
    if (const size_t end = skip_space(at_); end > at_) return advance(end);
    const char c = source_[at_];
    if ('0' <= c && c <= '9') return take_number();
    if (starts_name(c)) {
      size_t end = at_ + 1;
      while (end < source_.size() && continues_name(source_[end])) ++end;
      add(Token::Kind::kName, source_.substr(at_, end - at_));
      return advance(end);
    }
    if (c == '\'' || c == '"') return take_string(c);
    for (const string_view symbol : kOperators) {
      if (at(symbol, at_)) return take_operator(symbol);
    }
    raise_error("unexpected character '{}'",
                io::printable(source_.substr(at_, utf8_length(source_[at_]))));
  }

  void take_number() {
    const bool after_dot = at_ > 0 && source_[at_ - 1] == '.';
    const NumberLiteral number = read_number(source_.substr(at_), !after_dot);
    add(Token::Kind::kConstant, source_.substr(at_, number.length), number.value);
    advance(at_ + number.length);
  }

  void take_string(char quote) {
    size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) raise_error("a string has no end");
    add(Token::Kind::kConstant, source_.substr(at_, end + 1 - at_),
        Text(unescape(source_.substr(at_ + 1, end - at_ - 1))));
    advance(end + 1);
  }

  void take_operator(string_view symbol) {
    const char c = symbol.size() == 1 ? symbol[0] : '\0';
    if (c == '(' || c == '[' || c == '{') open_ += c == '(' ? ')' : c == '[' ? ']' : '}';
    if (c == ')' || c == ']' || c == '}') {
      if (open_.empty()) raise_error("unexpected '{}'", c);
      if (open_.back() != c) raise_error("unexpected '{}', expected '{}'", c, open_.back());
      open_.pop_back();
    }
    add(Token::Kind::kOperator, source_.substr(at_, symbol.size()));
    advance(at_ + symbol.size());
  }

  const string_view source_;
  int& line_;
  size_t at_ = 0;
  bool line_starts_ = true;  // what was taken last ended a line
  std::string open_;         // the brackets that are yet to come
  std::vector<Token> tokens_;
};

}  // namespace

std::string normalize_newlines(std::string_view source) {
  std::string result;
  result.reserve(source.size());
  for (size_t at = 0; at < source.size(); ++at) {
    const bool carriage = source[at] == '\r';
    if (carriage && at + 1 < source.size() && source[at + 1] == '\n') ++at;
    result += carriage ? '\n' : source[at];
  }
  if (result.ends_with('\n')) result.pop_back();
  return result;
}

std::vector<Token> tokenize(std::string_view source, int& line) {
  return Lexer(source, line).run();
}

}  // namespace tessera::launch::jinja
