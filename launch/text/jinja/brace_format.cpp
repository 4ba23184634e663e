// str.format.
#include <algorithm>
#include <optional>

#include "launch/text/jinja/fill_in.h"
#include "launch/text/jinja/format.h"
#include "launch/text/jinja/format_spec.h"
#include "launch/text/jinja/interpreter.h"
#include "launch/text/jinja/literals.h"
#include "launch/text/jinja/strings.h"
#include "runtime/io/printable.h"

namespace tessera::launch::jinja {
namespace {

using std::string_view;

int64_t number_of(string_view digits) {
  const auto number = parse_integer(digits, 10);
  return number.value_or(0);
}

/// What stands between braces.
struct Field {
  string_view name;
  char conversion = '\0';
  size_t spec_begin = 0, spec_end = 0;  // in the pattern
};

class BraceFormatter {
 public:
  BraceFormatter(Interpreter& interpreter, const Arguments& arguments)
      : interpreter_(interpreter), arguments_(arguments) {}

  /// `depth`: how many levels of braces there may be.
  Text run(const Text& pattern, int depth) {
    if (depth == 0) raise_error("Max string recursion exceeded");
    const string_view bytes = pattern.bytes;
    Text out;
    size_t at = 0;
    while (at < bytes.size()) {
      const size_t brace = std::min(bytes.find_first_of("{}", at), bytes.size());
      out.append(pattern, at, brace);
      if (brace == bytes.size()) break;
      if (bytes.substr(brace + 1).starts_with(bytes[brace])) {
        out.append(pattern, brace, brace + 1);
        at = brace + 2;
        continue;
      }
      if (bytes[brace] == '}') raise_error("Single '}}' encountered in format string");
      at = brace + 1;
      const Field field = take_field(bytes, at);
      write(out, pattern, field, depth);
      if (out.size() > kMaxTextBytes) interpreter_.budget().bytes(out.size());
    }
    interpreter_.budget().bytes(out.size());
    return out;
  }

 private:
  /// The field that begins at `at`, which then is past its closing brace.
  static Field take_field(string_view pattern, size_t& at) {
    Field field;
    const size_t begin = at;
    while (at < pattern.size() && string_view("}:!").find(pattern[at]) == string_view::npos) {
      if (pattern[at] == '{') raise_error("unexpected '{{' in field name");
      if (pattern[at] == '[') at = std::min(pattern.find(']', at), pattern.size() - 1);
      ++at;
    }
    if (at >= pattern.size()) raise_error("expected '}}' before end of string");
    field.name = pattern.substr(begin, at - begin);
    if (pattern[at] == '!') {
      if (at + 2 >= pattern.size()) raise_error("unmatched '{{' in format spec");
      field.conversion = pattern[at + 1];
      at += 2;
      if (pattern[at] != ':' && pattern[at] != '}') {
        raise_error("expected ':' after conversion specifier");
      }
    }
    if (pattern[at++] == '}') return field;
    field.spec_begin = at;
    for (int open = 1; open > 0; ++at) {
      if (at >= pattern.size()) raise_error("unmatched '{{' in format spec");
      open += pattern[at] == '{' ? 1 : pattern[at] == '}' ? -1 : 0;
    }
    field.spec_end = at - 1;
    return field;
  }

  void write(Text& out, const Text& pattern, const Field& field, int depth) {
    Value value = find(field.name);
    Budget& budget = interpreter_.budget();
    switch (field.conversion) {
      case '\0':
        break;
      case 's':
        value = str_of(value, budget);
        break;
      case 'r':
        value = repr_of(value, budget);
        break;
      case 'a':
        value = ascii_of(value, budget);
        break;
      default:
        raise_error("unknown conversion specifier '{}'", io::printable({&field.conversion, 1}));
    }
    Text spec;
    if (field.spec_end > field.spec_begin) {
      spec = run(pattern.part(field.spec_begin, field.spec_end), depth - 1);
    }
    out.append(format_value(value, spec.bytes, budget));
  }

  /// The value that a name like "0", "key" or "key.attribute[item]" means.
  Value find(string_view name) {
    const size_t end = std::min(name.find_first_of(".["), name.size());
    Value value = first(name.substr(0, end), name.empty());
    for (name.remove_prefix(end); !name.empty();) {
      const bool attribute = name[0] == '.';
      const size_t key_end =
          attribute ? std::min(name.find_first_of(".[", 1), name.size()) : name.find(']');
      if (key_end == string_view::npos) raise_error("missing ']' in format string");
      const string_view key = name.substr(1, key_end - 1);
      if (key.empty()) raise_error("empty attribute in format string");
      name.remove_prefix(key_end + !attribute);
      if (!name.empty() && name[0] != '.' && name[0] != '[') {
        raise_error("only '.' or '[' may follow ']' in format field specifier");
      }
      const Value key_value = Text(std::string(key));
      value = attribute        ? interpreter_.get_attribute(value, key_value)
              : is_digits(key) ? interpreter_.get_item(value, number_of(key))
                               : interpreter_.get_item(value, key_value);
    }
    return value;
  }

  Value first(string_view name, bool automatic) {
    if (automatic || is_digits(name)) {
      if (automatic_ && *automatic_ != automatic) {
        raise_error("cannot mix automatic and manual field numbering");
      }
      automatic_ = automatic;
      const int64_t index = automatic ? next_++ : number_of(name);
      if (index >= int64_t(arguments_.positional.size())) {
        raise_error("there is no argument {} to format", index);
      }
      return arguments_.positional[size_t(index)];
    }
    for (const auto& [key, value] : arguments_.named) {
      if (key.bytes() == name) return value;
    }
    raise_error("there is no argument '{}' to format", io::printable(name, 40));
  }

  Interpreter& interpreter_;
  const Arguments& arguments_;
  std::optional<bool> automatic_;
  int64_t next_ = 0;
};

}  // namespace

Value brace_format(Interpreter& interpreter, const Value& pattern, const Arguments& arguments) {
  if (pattern.is_markup()) raise_error("formatting escaped HTML is not supported");
  return BraceFormatter(interpreter, arguments).run(pattern.text(), 2);
}

}  // namespace tessera::launch::jinja
