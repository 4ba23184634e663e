#include "launch/text/chat_template_outline.h"

#include <algorithm>
#include <cctype>

namespace tessera::launch {
namespace {

constexpr std::string_view kSpace = " \t\r\n\f\v";

bool is_name(char c) { return std::isalnum(uint8_t(c)) || c == '_' || uint8_t(c) >= 0x80; }

/// Texts among tokens; the quotes tell them from names.
std::string in_quotes(const std::string& text) { return '"' + text + '"'; }

std::optional<std::string> unquoted(const std::string& token) {
  if (token.front() != '"') return std::nullopt;
  return token.substr(1, token.size() - 2);
}

/// The tokens of an expression or statement; texts are quoted anew. Nothing when a quote is open.
std::optional<std::vector<std::string>> tokens_of(std::string_view code) {
  std::vector<std::string> tokens;
  for (size_t at = 0; at < code.size();) {
    const char c = code[at];
    if (kSpace.find(c) != kSpace.npos) {
      ++at;
    } else if (c == '\'' || c == '"') {
      std::string text;
      for (++at; at < code.size() && code[at] != c; ++at) {
        if (code[at] != '\\') {
          text += code[at];
          continue;
        }
        if (++at == code.size()) return std::nullopt;
        const std::string_view from = "ntr", to = "\n\t\r";
        const size_t known = from.find(code[at]);
        if (known != from.npos) {
          text += to[known];
        } else if (std::ispunct(uint8_t(code[at]))) {
          text += code[at];
        } else {
          return std::nullopt;  // escapes by number do not occur in templates worth knowing
        }
      }
      if (at == code.size()) return std::nullopt;
      ++at;
      tokens.push_back(in_quotes(text));
    } else {
      size_t end = at + 1;
      if (is_name(c)) {
        while (end < code.size() && is_name(code[end])) ++end;
      } else if (end < code.size() && code[end] == '=' &&
                 std::string_view("=!<>").find(c) != std::string_view::npos) {
        ++end;
      }
      tokens.emplace_back(code.substr(at, end - at));
      at = end;
    }
  }
  return tokens;
}

/// x['name'] becomes x.name, which Jinja takes for the same.
void dot_subscripts(std::vector<std::string>& tokens) {
  for (size_t i = 1; i + 2 < tokens.size(); ++i) {
    if (tokens[i] != "[" || tokens[i + 2] != "]") continue;
    const auto name = unquoted(tokens[i + 1]);
    const std::string& before = tokens[i - 1];
    const bool subscript = before == "]" || before == ")" || is_name(before.back());
    if (!subscript || !name || name->empty() || !std::all_of(name->begin(), name->end(), is_name)) {
      continue;
    }
    tokens[i] = ".";
    tokens[i + 1] = *name;
    tokens.erase(tokens.begin() + ptrdiff_t(i) + 2);
  }
}

std::string joined(const std::vector<std::string>& tokens) {
  std::string text;
  for (const std::string& token : tokens) {
    if (!text.empty() && is_name(text.back()) && is_name(token.front())) text += ' ';
    text += token;
  }
  return text;
}

/// Jinja takes every line end of a template for a line feed.
std::string with_line_feeds(std::string_view jinja) {
  std::string text;
  for (size_t i = 0; i < jinja.size(); ++i) {
    if (jinja[i] != '\r') {
      text += jinja[i];
    } else if (i + 1 == jinja.size() || jinja[i + 1] != '\n') {
      text += '\n';
    }
  }
  return text;
}

class Outliner {
 public:
  explicit Outliner(std::string_view jinja) : jinja_(jinja) {}

  bool run() {
    // Jinja drops one line feed at the end.
    if (jinja_.ends_with('\n')) jinja_.remove_suffix(1);
    size_t at = 0;
    while (at < jinja_.size()) {
      const size_t open = next_tag(at);
      std::string_view text = jinja_.substr(at, open - at);
      if (open == jinja_.size()) {
        emit_text(text);
        break;
      }
      const char kind = jinja_[open + 1];
      size_t begin = open + 2;
      if (begin < jinja_.size() && jinja_[begin] == '-') {
        text = text.substr(0, text.find_last_not_of(kSpace) + 1);
        ++begin;
      } else if (kind != '{') {
        text = without_indent(text, open);
      }
      emit_text(text);
      const size_t close = end_of_tag(begin, kind);
      if (close == std::string_view::npos) return false;
      const bool trims = close > begin && jinja_[close - 1] == '-';
      if (!emit_tag(kind, jinja_.substr(begin, close - trims - begin))) return false;
      at = close + 2;
      if (trims) {
        at = std::min(jinja_.find_first_not_of(kSpace, at), jinja_.size());
      } else if (kind != '{' && at < jinja_.size() && jinja_[at] == '\n') {
        ++at;
      }
    }
    return true;
  }

  std::vector<std::string> take() { return std::move(lines_); }

 private:
  size_t next_tag(size_t from) const {
    for (size_t at = from; at + 1 < jinja_.size(); ++at) {
      if (jinja_[at] == '{' && std::string_view("{%#").find(jinja_[at + 1]) != jinja_.npos) {
        return at;
      }
    }
    return jinja_.size();
  }

  /// Where the closing marker of a tag starts. Quotes may hide one, but not in a comment.
  size_t end_of_tag(size_t from, char kind) const {
    const char last = kind == '{' ? '}' : kind;
    char quote = 0;
    for (size_t at = from; at + 1 < jinja_.size(); ++at) {
      const char c = jinja_[at];
      if (quote) {
        if (c == '\\') ++at;
        if (c == quote) quote = 0;
      } else if (kind != '#' && (c == '\'' || c == '"')) {
        quote = c;
      } else if (c == last && jinja_[at + 1] == '}') {
        return at;
      }
    }
    return std::string_view::npos;
  }

  /// lstrip_blocks: blanks before a block tag go when nothing else stands before it in its line.
  std::string_view without_indent(std::string_view text, size_t open) const {
    const size_t feed = open == 0 ? jinja_.npos : jinja_.rfind('\n', open - 1);
    const size_t line = feed == jinja_.npos ? 0 : feed + 1;
    const std::string_view before = jinja_.substr(line, open - line);
    if (before.find_first_not_of(kSpace) != before.npos) return text;
    return text.substr(0, text.size() - std::min(text.size(), before.size()));
  }

  void emit_text(std::string_view text) {
    if (text.empty()) return;
    if (lines_.empty() || !lines_.back().starts_with("text ")) lines_.emplace_back("text ");
    lines_.back() += text;
  }

  bool emit_tag(char kind, std::string_view code) {
    if (kind == '#') return true;
    auto tokens = tokens_of(code);
    if (!tokens || tokens->empty()) return false;
    dot_subscripts(*tokens);
    if (kind == '%') {
      lines_.push_back(joined(*tokens));
      return true;
    }
    if (!is_sum(*tokens)) {
      lines_.push_back("out " + joined(*tokens));
      return true;
    }
    for (auto from = tokens->begin();;) {
      const auto plus = std::find(from, tokens->end(), "+");
      emit_operand(std::vector<std::string>(from, plus));
      if (plus == tokens->end()) return true;
      from = plus + 1;
    }
  }

  /// Whether an expression only joins texts and values, so that they can be put out one by one.
  static bool is_sum(const std::vector<std::string>& tokens) {
    const auto plain = [](const std::string& token) {
      static const std::vector<std::string> kWords = {"if", "else", "and", "or", "not", "in", "is"};
      return std::string_view("+.[]").find(token) != std::string_view::npos ||
             token.front() == '"' ||
             (is_name(token.front()) &&
              std::find(kWords.begin(), kWords.end(), token) == kWords.end());
    };
    return tokens.front() != "+" && tokens.back() != "+" &&
           std::all_of(tokens.begin(), tokens.end(), plain);
  }

  void emit_operand(const std::vector<std::string>& tokens) {
    if (const auto text = tokens.size() == 1 ? unquoted(tokens[0]) : std::nullopt) {
      emit_text(*text);
    } else {
      lines_.push_back("out " + joined(tokens));
    }
  }

  std::string_view jinja_;
  std::vector<std::string> lines_;
};

}  // namespace

std::optional<std::vector<std::string>> outline_of(std::string_view jinja) {
  if (jinja.size() > kLongestTemplate) return std::nullopt;
  const std::string text = with_line_feeds(jinja);
  Outliner outliner(text);
  if (!outliner.run()) return std::nullopt;
  return outliner.take();
}

}  // namespace tessera::launch
