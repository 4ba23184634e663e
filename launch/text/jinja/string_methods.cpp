// The methods of str. On escaped HTML they give escaped HTML back, as markupsafe's do.
#include <algorithm>
#include <unordered_map>

#include "launch/text/jinja/characters.h"
#include "launch/text/jinja/fill_in.h"
#include "launch/text/jinja/filter_arguments.h"
#include "launch/text/jinja/interpreter.h"
#include "launch/text/jinja/methods.h"
#include "launch/text/jinja/operations.h"
#include "launch/text/jinja/parameters.h"
#include "launch/text/jinja/strings.h"
#include "launch/text/tokenizer/tokenizer_text.h"

namespace tessera::launch::jinja {
namespace {

using std::string_view;

Value list_like(const Value& self, std::vector<Text> texts) {
  List items;
  for (Text& text : texts) items.push_back(text_like(self, std::move(text)));
  return Value::list(std::move(items));
}

/// An argument of a method, escaped where the string is escaped HTML.
Text escaped_like(const Value& self, const Value& argument, const char* method, Budget& budget) {
  const Text& text = text_of(argument, method);
  return self.is_markup() && !argument.is_markup() ? escape_html(text, budget) : text;
}

void take_none(const char* method, Arguments& arguments) { Parameters(method, arguments, {}); }

// -- Case and classes ------------------------------------------------------------------------

template <Case kCase>
Value change_case(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  take_none("a method of str", arguments);
  interpreter.budget().bytes(self.text().size());
  return text_like(self, to_case(self.text(), kCase));
}

/// Whether there are characters, and all are of a class.
template <bool (*kIs)(char32_t)>
Value all_are(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  take_none("a method of str", arguments);
  const std::string& bytes = self.bytes();
  interpreter.budget().bytes(bytes.size());
  for (size_t at = 0; at < bytes.size(); at += utf8_length(bytes[at])) {
    if (!kIs(utf8_at(bytes, at))) return false;
  }
  return !bytes.empty();
}

bool is_alphanumeric(char32_t point) {
  return is_alpha(point) || is_decimal(point) || is_digit(point) || is_numeric(point);
}

/// isascii and isprintable hold for the empty string, too.
template <bool (*kIs)(char32_t)>
Value none_is_not(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  if (self.text().empty()) return true;
  return all_are<kIs>(interpreter, self, arguments);
}

bool is_ascii_point(char32_t point) { return point < 0x80; }

template <bool (*kIs)(string_view)>
Value text_is(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  take_none("a method of str", arguments);
  interpreter.budget().bytes(self.text().size());
  return kIs(self.bytes());
}

/// Upper case begins each word and stands nowhere else.
bool is_title_text(string_view text) {
  bool in_word = false, any = false;
  for (size_t at = 0; at < text.size(); at += utf8_length(text[at])) {
    const char32_t point = utf8_at(text, at);
    const bool begins = is_upper(point) || is_title(point);
    if (begins ? in_word : is_lower(point) && !in_word) return false;
    in_word = is_cased(point);
    any = any || in_word;
  }
  return any;
}

// -- Ends ------------------------------------------------------------------------------------

template <Side kSide>
Value strip_method(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  const Parameters given("strip", arguments, {"/chars"});
  std::optional<Text> chars;
  if (given.find(0) && !given.at(0).is_none()) {
    chars = escaped_like(self, given.at(0), "strip", interpreter.budget());
  }
  interpreter.budget().bytes(self.text().size());
  std::optional<string_view> view;
  if (chars) view = chars->bytes;
  return text_like(self, strip(self.text(), view, kSide));
}

/// The part of the string that its start and end arguments, `first` and the next one, leave.
/// Nothing when they leave none, which no string is found in.
struct Stretch {
  size_t begin = 0;  // offsets
  size_t end = 0;
};

std::optional<Stretch> stretch_of(const Value& self, const Parameters& given, size_t first) {
  const std::string& bytes = self.bytes();
  const auto bound = [&](size_t index) -> std::optional<int64_t> {
    const Value* value = given.find(index);
    if (!value || value->is_none()) return std::nullopt;
    return index_of(*value, "a method of str");
  };
  const auto start = bound(first), stop = bound(first + 1);
  if (!start && !stop) return Stretch{0, bytes.size()};
  const auto length = int64_t(count_points(bytes));
  const auto from_front = [&](int64_t index) {
    return index < 0 ? std::max<int64_t>(index + length, 0) : index;
  };
  const int64_t begin = from_front(start.value_or(0));
  const int64_t end = std::min(from_front(stop.value_or(length)), length);
  if (begin > end) return std::nullopt;
  return Stretch{offset_of(bytes, size_t(begin)), offset_of(bytes, size_t(end))};
}

template <bool kAtEnd>
Value has_end(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  const char* name = kAtEnd ? "endswith" : "startswith";
  const Parameters given(name, arguments, {"/affix", "/start", "/end"}, 1);
  const auto stretch = stretch_of(self, given, 1);
  const auto holds = [&](const Value& affix) {
    const std::string& wanted = text_of(affix, name).bytes;
    if (!stretch) return false;
    const string_view part =
        string_view(self.bytes()).substr(stretch->begin, stretch->end - stretch->begin);
    return kAtEnd ? part.ends_with(wanted) : part.starts_with(wanted);
  };
  if (!given.at(0).is(Kind::kTuple)) return holds(given.at(0));
  interpreter.budget().steps(given.at(0).items().size());
  return std::any_of(given.at(0).items().begin(), given.at(0).items().end(), holds);
}

template <bool kAtEnd>
Value remove_end(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  const Parameters given(kAtEnd ? "removesuffix" : "removeprefix", arguments, {"/affix"}, 1);
  const Text affix = escaped_like(self, given.at(0), "removeprefix", interpreter.budget());
  const Text& text = self.text();
  interpreter.budget().bytes(text.size());
  const bool has = kAtEnd ? text.bytes.ends_with(affix.bytes) : text.bytes.starts_with(affix.bytes);
  if (!has || affix.empty()) return self;
  return text_like(self, kAtEnd ? text.part(0, text.size() - affix.size())
                                : text.part(affix.size(), text.size()));
}

// -- Parts -----------------------------------------------------------------------------------

template <bool kFromRight>
Value split_method(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  const Parameters given(kFromRight ? "rsplit" : "split", arguments, {"sep", "maxsplit"});
  std::optional<string_view> separator;
  if (given.find(0) && !given.at(0).is_none()) separator = given.text(0).bytes;
  interpreter.budget().bytes(self.text().size());
  auto parts = split(self.text(), separator, given.integer(1, -1), kFromRight);
  interpreter.budget().steps(parts.size());
  return list_like(self, std::move(parts));
}

Value splitlines(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  const Parameters given("splitlines", arguments, {"keepends"});
  interpreter.budget().bytes(self.text().size());
  auto lines = split_lines(self.text(), given.integer(0, 0) != 0);
  interpreter.budget().steps(lines.size());
  return list_like(self, std::move(lines));
}

template <bool kFromRight>
Value partition(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  const Parameters given("partition", arguments, {"/sep"}, 1);
  const Text separator = escaped_like(self, given.at(0), "partition", interpreter.budget());
  if (separator.empty()) raise_error("empty separator");
  const Text& text = self.text();
  interpreter.budget().bytes(text.size());
  const size_t found =
      kFromRight ? text.bytes.rfind(separator.bytes) : text.bytes.find(separator.bytes);
  const Value all = text_like(self, text), none = text_like(self, Text());
  if (found == std::string::npos) {
    return kFromRight ? Value::tuple({none, none, all}) : Value::tuple({all, none, none});
  }
  const size_t end = found + separator.size();
  return Value::tuple({text_like(self, text.part(0, found)), text_like(self, text.part(found, end)),
                       text_like(self, text.part(end, text.size()))});
}

Value join_method(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  const Parameters given("join", arguments, {"/iterable"}, 1);
  std::vector<Text> parts;
  for (const Value& item : to_list(given.at(0), interpreter.budget())) {
    parts.push_back(escaped_like(self, item, "join", interpreter.budget()));
  }
  return text_like(self, join(self.text(), parts, interpreter.budget()));
}

Value replace_method(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  const Parameters given("replace", arguments, {"/old", "/new", "/count"}, 2);
  const Text by = escaped_like(self, given.at(1), "replace", interpreter.budget());
  return text_like(self, replace(self.text(), given.text(0).bytes, by, given.integer(2, -1),
                                 interpreter.budget()));
}

// -- Search ----------------------------------------------------------------------------------

template <bool kFromRight, bool kMustFind>
Value find_text(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  const Parameters given("find", arguments, {"/sub", "/start", "/end"}, 1);
  const std::string& wanted = given.text(0).bytes;
  const std::string& bytes = self.bytes();
  interpreter.budget().bytes(bytes.size());
  size_t found = std::string::npos;
  if (const auto stretch = stretch_of(self, given, 1)) {
    const string_view part =
        string_view(bytes).substr(stretch->begin, stretch->end - stretch->begin);
    found = kFromRight ? part.rfind(wanted) : part.find(wanted);
    if (found != string_view::npos) {
      return int64_t(count_points(string_view(bytes).substr(0, stretch->begin + found)));
    }
  }
  if (kMustFind) raise_error("substring not found");
  return int64_t{-1};
}

Value count_text(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  const Parameters given("count", arguments, {"/sub", "/start", "/end"}, 1);
  const std::string& wanted = given.text(0).bytes;
  interpreter.budget().bytes(self.text().size());
  const auto stretch = stretch_of(self, given, 1);
  if (!stretch) return int64_t{0};
  const string_view part =
      string_view(self.bytes()).substr(stretch->begin, stretch->end - stretch->begin);
  if (wanted.empty()) return int64_t(count_points(part)) + 1;
  int64_t count = 0;
  for (size_t at = part.find(wanted); at != string_view::npos;
       at = part.find(wanted, at + wanted.size())) {
    ++count;
  }
  return count;
}

// -- Width -----------------------------------------------------------------------------------

enum class Align { kLeft, kRight, kCenter };

template <Align kAlign>
Value align(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  const Parameters given("center", arguments, {"/width", "/fillchar"}, 1);
  Text fill = " ";
  if (given.find(1)) fill = escaped_like(self, given.at(1), "center", interpreter.budget());
  if (count_points(fill.bytes) != 1) {
    raise_error("the fill character must be exactly one character long");
  }
  const int64_t width = given.integer(0, 0);
  const auto length = int64_t(count_points(self.bytes()));
  if (width <= length) return self;
  const int64_t total = width - length;
  // As Python centres: the odd space goes left where the width is odd.
  const int64_t left = kAlign == Align::kLeft    ? 0
                       : kAlign == Align::kRight ? total
                                                 : total / 2 + (total & width & 1);
  return text_like(self, pad(self.text(), left, total - left, fill, interpreter.budget()));
}

Value zfill(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  const Parameters given("zfill", arguments, {"/width"}, 1);
  const Text& text = self.text();
  const int64_t missing = given.integer(0, 0) - int64_t(count_points(text.bytes));
  if (missing <= 0) return self;
  const size_t sign = text.bytes.starts_with('-') || text.bytes.starts_with('+');
  Text result = text.part(0, sign);
  result.append(repeat("0", missing, interpreter.budget()));
  result.append(text, sign, text.size());
  return text_like(self, std::move(result));
}

Value expandtabs(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  const Parameters given("expandtabs", arguments, {"tabsize"});
  const int64_t size = given.integer(0, 8);
  Text result;
  int64_t column = 0;
  for (const Text& point : points_of(self.text())) {
    interpreter.budget().steps(1);
    if (point.bytes == "\t") {
      const int64_t spaces = size > 0 ? size - column % size : 0;
      result.append(repeat(" ", spaces, interpreter.budget()));
      column += spaces;
      if (result.size() > kMaxTextBytes) interpreter.budget().bytes(result.size());
      continue;
    }
    result.append(point);
    column = point.bytes == "\n" || point.bytes == "\r" ? 0 : column + 1;
  }
  return text_like(self, std::move(result));
}

Value format_method(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  return brace_format(interpreter, self, arguments);
}

Value unsupported(Interpreter&, const Value&, Arguments&) {
  raise_error("this method of str is not supported in templates");
}

const std::unordered_map<string_view, MethodBody>& string_methods() {
  static const std::unordered_map<string_view, MethodBody> methods = {
      {"capitalize", change_case<Case::kCapital>},
      {"casefold", change_case<Case::kFolded>},
      {"center", align<Align::kCenter>},
      {"count", count_text},
      {"encode", unsupported},
      {"endswith", has_end<true>},
      {"expandtabs", expandtabs},
      {"find", find_text<false, false>},
      {"format", format_method},
      {"format_map", unsupported},
      {"index", find_text<false, true>},
      {"isalnum", all_are<is_alphanumeric>},
      {"isalpha", all_are<is_alpha>},
      {"isascii", none_is_not<is_ascii_point>},
      {"isdecimal", all_are<is_decimal>},
      {"isdigit", all_are<is_digit>},
      {"isidentifier", unsupported},
      {"islower", text_is<is_lower_text>},
      {"isnumeric", all_are<is_numeric>},
      {"isprintable", none_is_not<is_printable>},
      {"isspace", all_are<is_python_space>},
      {"istitle", text_is<is_title_text>},
      {"isupper", text_is<is_upper_text>},
      {"join", join_method},
      {"ljust", align<Align::kLeft>},
      {"lower", change_case<Case::kLower>},
      {"lstrip", strip_method<Side::kLeft>},
      {"maketrans", unsupported},
      {"partition", partition<false>},
      {"removeprefix", remove_end<false>},
      {"removesuffix", remove_end<true>},
      {"replace", replace_method},
      {"rfind", find_text<true, false>},
      {"rindex", find_text<true, true>},
      {"rjust", align<Align::kRight>},
      {"rpartition", partition<true>},
      {"rsplit", split_method<true>},
      {"rstrip", strip_method<Side::kRight>},
      {"split", split_method<false>},
      {"splitlines", splitlines},
      {"startswith", has_end<false>},
      {"strip", strip_method<Side::kBoth>},
      {"swapcase", change_case<Case::kSwapped>},
      {"title", change_case<Case::kTitle>},
      {"translate", unsupported},
      {"upper", change_case<Case::kUpper>},
      {"zfill", zfill},
  };
  return methods;
}

}  // namespace

MethodBody find_string_method(std::string_view name) {
  const auto it = string_methods().find(name);
  return it == string_methods().end() ? nullptr : it->second;
}

}  // namespace tessera::launch::jinja
