// Filters on strings.
#include <algorithm>

#include "launch/text/jinja/arithmetic.h"
#include "launch/text/jinja/characters.h"
#include "launch/text/jinja/fill_in.h"
#include "launch/text/jinja/filter_arguments.h"
#include "launch/text/jinja/filters.h"
#include "launch/text/jinja/format.h"
#include "launch/text/jinja/methods.h"
#include "launch/text/jinja/operations.h"
#include "launch/text/jinja/parameters.h"
#include "launch/text/jinja/strings.h"
#include "launch/text/tokenizer/tokenizer_text.h"

namespace tessera::launch::jinja {
namespace {

using std::string_view;

template <Case kCase>
Value case_filter(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  Parameters("this filter", arguments, {});
  const Value text = soft_text(interpreter, input);
  interpreter.budget().bytes(text.text().size());
  return text_like(text, to_case(text.text(), kCase));
}

Value center(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  const Parameters given("center", arguments, {"width"});
  Arguments width{{given.get(0, int64_t{80})}, {}};
  return find_string_method("center")(interpreter, soft_text(interpreter, input), width);
}

Value trim(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  const Parameters given("trim", arguments, {"chars"});
  Arguments chars{{given.get(0, {})}, {}};
  return find_string_method("strip")(interpreter, soft_text(interpreter, input), chars);
}

Value string(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  Parameters("string", arguments, {});
  return soft_text(interpreter, input);
}

Value safe(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  Parameters("safe", arguments, {});
  return Value::markup(str_of(input, interpreter.budget()));
}

Value escape(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  Parameters("escape", arguments, {"/s"});
  if (input.is_markup()) return input;
  return Value::markup(escape_html(str_of(input, interpreter.budget()), interpreter.budget()));
}

Value force_escape(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  Parameters("forceescape", arguments, {});
  return Value::markup(escape_html(str_of(input, interpreter.budget()), interpreter.budget()));
}

Value format(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  if (!arguments.positional.empty() && !arguments.named.empty()) {
    raise_error("format: cannot take positional and keyword arguments at the same time");
  }
  const Value text = soft_text(interpreter, input);
  if (arguments.named.empty()) {
    return percent_format(text, Value::tuple(arguments.positional), interpreter.budget());
  }
  Dict named;
  for (auto& [name, value] : arguments.named) named.set(name, value);
  return percent_format(text, named, interpreter.budget());
}

Value replace_filter(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  const Parameters given("replace", arguments, {"old", "new", "count"}, 2);
  Budget& budget = interpreter.budget();
  const Value* count = given.find(2);
  const int64_t most = count && !count->is_none() ? given.integer(2, -1) : -1;
  return replace(str_of(input, budget), str_of(given.at(0), budget).bytes,
                 str_of(given.at(1), budget), most, budget);
}

/// A word's first character in upper case, the others in lower case.
void append_title(Text& out, const Text& word) {
  if (word.empty()) return;
  const size_t first = utf8_length(word.bytes[0]);
  out.append(to_case(word.part(0, first), Case::kUpper));
  out.append(to_case(word.part(first, word.size()), Case::kLower));
}

Value title(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  Parameters("title", arguments, {});
  const Text text = soft_text(interpreter, input).text();
  interpreter.budget().bytes(text.size());
  Text out;
  size_t word = 0;
  for (size_t at = 0; at < text.size();) {
    const char32_t point = utf8_at(text.bytes, at);
    const size_t next = at + utf8_length(text.bytes[at]);
    if (is_python_space(point) ||
        (point < 0x80 && string_view("-({[<").find(char(point)) != string_view::npos)) {
      append_title(out, text.part(word, at));
      out.append(text, at, next);
      word = next;
    }
    at = next;
  }
  append_title(out, text.part(word, text.size()));
  return out;
}

Value indent(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  const Parameters given("indent", arguments, {"width", "first", "blank"});
  Budget& budget = interpreter.budget();
  check_defined(input);
  const Value width = given.get(0, int64_t{4});
  Text indention;
  if (width.is_string()) {
    indention = width.text();
  } else {
    indention = repeat(" ", index_of(width, "indent"), budget);
  }
  Text text = text_of(input, "indent");
  text.write("\n");
  const bool blank = given.truth(2, false);
  Text out;
  if (given.truth(1, false)) out.append(indention);
  bool first = true;
  for (const Text& line : split_lines(text, false)) {
    budget.bytes(line.size() + indention.size());
    if (!first) out.write("\n");
    if (!first && (blank || !line.empty())) out.append(indention);
    out.append(line);
    first = false;
    if (out.size() > kMaxTextBytes) budget.bytes(out.size());
  }
  return text_like(input, std::move(out));
}

Value truncate(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  const Parameters given("truncate", arguments, {"length", "killwords", "end", "leeway"});
  const Text end = given.find(2) ? given.text(2) : Text("...");
  const int64_t length = given.integer(0, 255);
  const bool has_leeway = given.find(3) && !given.at(3).is_none();
  const int64_t leeway = has_leeway ? given.integer(3, 5) : 5;
  const auto end_length = int64_t(count_points(end.bytes));
  if (length < end_length) {
    raise_error("truncate: expected length >= {}, got {}", end_length, length);
  }
  if (leeway < 0) raise_error("truncate: expected leeway >= 0, got {}", leeway);
  if (length_of(input) - leeway <= length) return input;
  const Text& text = text_of(input, "truncate");
  interpreter.budget().bytes(text.size());
  Text cut = text.part(0, offset_of(text.bytes, size_t(length - end_length)));
  if (!given.truth(1, false)) cut = split(cut, " ", 1, true)[0];
  cut.append(end);
  return text_like(input, std::move(cut));
}

void append_quoted(Text& out, const Text& text, bool in_query) {
  for (size_t at = 0; at < text.size(); ++at) {
    const char c = text.bytes[at];
    const bool plain = ('a' <= (c | 0x20) && (c | 0x20) <= 'z') || ('0' <= c && c <= '9') ||
                       string_view("_.-~").find(c) != string_view::npos || (c == '/' && !in_query);
    if (plain) {
      out.append(text, at, at + 1);
    } else {
      const auto code = static_cast<unsigned char>(c);
      out.append_as(in_query && c == ' ' ? "+" : fmt::format("%{:02X}", code), text, at);
    }
  }
}

Value urlencode(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  Parameters("urlencode", arguments, {});
  Budget& budget = interpreter.budget();
  Text out;
  if (input.is_string() || !Cursor::iterates(input)) {
    append_quoted(out, str_of(input, budget), false);
    budget.bytes(out.size());
    return out;
  }
  List pairs;
  if (input.is(Kind::kDict)) {
    for (const auto& [key, value] : input.dict().entries()) {
      pairs.push_back(Value::tuple({key, value}));
    }
  } else {
    pairs = to_list(input, budget);
  }
  bool first = true;
  for (const Value& pair : pairs) {
    const List parts = to_list(pair, budget);
    if (parts.size() != 2) raise_error("urlencode: expected pairs of key and value");
    if (!first) out.write("&");
    first = false;
    append_quoted(out, str_of(parts[0], budget), true);
    out.write("=");
    append_quoted(out, str_of(parts[1], budget), true);
    budget.bytes(out.size() > kMaxTextBytes ? out.size() : 1);
  }
  budget.bytes(out.size());
  return out;
}

Value wordcount(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  Parameters("wordcount", arguments, {});
  const Value value = soft_text(interpreter, input);
  const std::string& bytes = value.bytes();
  interpreter.budget().bytes(bytes.size());
  int64_t count = 0;
  bool in_word = false;
  for (size_t at = 0; at < bytes.size(); at += utf8_length(bytes[at])) {
    const char32_t point = utf8_at(bytes, at);
    const bool word = point == '_' || is_alpha(point) || is_decimal(point) || is_digit(point) ||
                      is_numeric(point);
    count += word && !in_word;
    in_word = word;
  }
  return count;
}

/// Takes out what stands from each `open` to the next `close`.
Text without(Text text, string_view open, string_view close) {
  Text out;
  size_t done = 0;
  while (true) {
    const size_t begin = text.bytes.find(open, done);
    if (begin == std::string::npos) break;
    const size_t end = text.bytes.find(close, begin);
    if (end == std::string::npos) break;
    out.append(text, done, begin);
    done = end + close.size();
  }
  out.append(text, done, text.size());
  return out;
}

Text unescape_html(const Text& text) {
  static constexpr std::pair<string_view, string_view> kEntities[] = {
      {"&amp;", "&"}, {"&lt;", "<"},   {"&gt;", ">"},   {"&quot;", "\""},
      {"&#39;", "'"}, {"&#34;", "\""}, {"&#x27;", "'"}, {"&apos;", "'"}};
  Text out;
  for (size_t at = 0; at < text.size();) {
    const size_t next = std::min(text.bytes.find('&', at), text.size());
    out.append(text, at, next);
    if (next == text.size()) break;
    const string_view rest = string_view(text.bytes).substr(next);
    const auto* entity =
        std::find_if(std::begin(kEntities), std::end(kEntities),
                     [&](const auto& known) { return rest.starts_with(known.first); });
    if (entity != std::end(kEntities)) {
      out.append_as(entity->second, text, next);
      at = next + entity->first.size();
      continue;
    }
    const bool is_entity =
        rest.size() > 1 && (rest[1] == '#' || ('a' <= (rest[1] | 0x20) && (rest[1] | 0x20) <= 'z'));
    if (is_entity) raise_error("striptags: this HTML entity is not supported");
    out.append(text, next, next + 1);
    at = next + 1;
  }
  return out;
}

Value striptags(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  Parameters("striptags", arguments, {});
  Budget& budget = interpreter.budget();
  Text text = str_of(input, budget);
  budget.bytes(text.size());
  text = without(without(std::move(text), "<!--", "-->"), "<", ">");
  const auto words = split(text, std::nullopt, -1, false);
  return unescape_html(join(" ", words, budget));
}

constexpr NamedFilter kTextFilters[] = {{"capitalize", case_filter<Case::kCapital>},
                                        {"center", center},
                                        {"e", escape},
                                        {"escape", escape},
                                        {"forceescape", force_escape},
                                        {"format", format},
                                        {"indent", indent},
                                        {"lower", case_filter<Case::kLower>},
                                        {"replace", replace_filter},
                                        {"safe", safe},
                                        {"string", string},
                                        {"striptags", striptags},
                                        {"title", title},
                                        {"trim", trim},
                                        {"truncate", truncate},
                                        {"upper", case_filter<Case::kUpper>},
                                        {"urlencode", urlencode},
                                        {"wordcount", wordcount}};

}  // namespace

std::span<const NamedFilter> text_filters() { return kTextFilters; }

}  // namespace tessera::launch::jinja
