#include "launch/text/tokenizer/pretokenizer_regex.h"

#include <cstdint>
#include <optional>
#include <vector>

#include "launch/text/tokenizer/pretokenizer_character_class.h"
#include "launch/text/tokenizer/pretokenizer_classes.h"
#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

/// What the flags of the enclosing groups say.
struct Flags {
  bool caseless = false;
  bool dot_takes_newline = false;
};

class Translator {
 public:
  Translator(std::string_view regex, const std::string& where) : in_(regex, where) {}

  std::string run() {
    std::string out = alternatives({}, 0);
    if (!in_.at_end()) in_.refuse("')' without '('");
    return out;
  }

 private:
  std::string alternatives(Flags flags, int depth) {
    constexpr int kDeepest = 100;
    if (depth > kDeepest) in_.refuse("groups nested deeper than 100");
    std::string out;
    last_literal_ = 0;
    while (!in_.at_end() && in_.peek() != ')') {
      if (in_.take('|')) {
        out += '|';
        last_literal_ = 0;
        continue;
      }
      // Flags hold up to the end of the group, later alternatives included.
      if (const auto changed = take_flags(flags, ")")) {
        return out + in_group(flags, *changed, alternatives(*changed, depth + 1));
      }
      out += quantified(atom(flags, depth));
    }
    return out;
  }

  struct Atom {
    std::string text;
    bool repeats = true;  // whether a quantifier may follow
  };

  Atom atom(Flags flags, int depth) {
    const char c = in_.peek();
    if (c == '(') return group(flags, depth);
    if (c == '[') {
      last_literal_ = 0;
      return {translate_character_class(in_, flags.caseless)};
    }
    if (c == '\\') return escape(flags);
    if (c == '.' || c == '^' || c == '$') {
      in_.skip(1);
      last_literal_ = 0;
      if (c == '.') return {flags.dot_takes_newline ? "(?s:.)" : "."};
      return {c == '^' ? "(?m:^)" : "(?m:$)", false};
    }
    if (c == '*' || c == '+' || c == '?') in_.refuse("a quantifier of nothing");
    return literal(in_.take_point(), flags);
  }

  Atom literal(char32_t point, Flags flags) {
    if (flags.caseless) in_.check_caseless(last_literal_, point);
    last_literal_ = point;
    return {spell_point(point)};
  }

  Atom escape(Flags flags) {
    if (const auto point = in_.take_escaped_point()) return literal(*point, flags);
    last_literal_ = 0;
    if (const auto set = in_.take_escaped_set(flags.caseless, /*lone=*/true)) {
      return {fmt::format("[{}{}]", set->negated ? "^" : "", set->members)};
    }
    in_.skip(1);
    const char c = in_.take_char();
    const std::string word = "[" + lone_word_members() + "]";
    switch (c) {
      case 'A':
      case 'z':
      case 'Z':
        return {std::string("\\") + c, false};
      case 'b':
        return {fmt::format("(?:(?<={0})(?!{0})|(?<!{0})(?={0}))", word), false};
      case 'B':
        return {fmt::format("(?:(?<={0})(?={0})|(?<!{0})(?!{0}))", word), false};
      case 'R':
        return {R"((?>\x{d}\x{a}|[\x{a}-\x{d}\x{85}\x{2028}\x{2029}]))"};
      case 'N':
        return {R"([^\x{a}])"};
      default:
        in_.refuse(fmt::format("'\\{}'", c));
    }
  }

  Atom group(Flags flags, int depth) {
    if (const auto changed = take_flags(flags, ":")) {
      return {in_group(flags, *changed, finish_group(*changed, depth))};
    }
    for (const std::string_view open : {"(?:", "(?>"}) {
      if (in_.take(open)) return {std::string(open) + finish_group(flags, depth) + ")"};
    }
    for (const std::string_view open : {"(?=", "(?!", "(?<=", "(?<!"}) {
      if (in_.take(open)) return {std::string(open) + finish_group(flags, depth) + ")", false};
    }
    if (in_.take("(?#")) {
      while (!in_.take(')')) in_.take_char();
      return {"", false};
    }
    if (in_.take("(?<")) {
      while (!in_.take('>')) in_.take_char();
    } else if (in_.starts_with("(?") || in_.starts_with("(*")) {
      in_.refuse(fmt::format("the group '{}'", in_.rest(3)));
    } else {
      in_.skip(1);
    }
    return {"(?:" + finish_group(flags, depth) + ")"};
  }

  std::string finish_group(Flags flags, int depth) {
    std::string inside = alternatives(flags, depth + 1);
    if (!in_.take(')')) in_.refuse("'(' without ')'");
    last_literal_ = 0;
    return inside;
  }

  /// Takes "(?i-m:" or "(?i)", as `end` has it. The group stays open.
  std::optional<Flags> take_flags(Flags flags, std::string_view end) {
    if (!in_.starts_with("(?")) return std::nullopt;
    bool on = true, any = false;
    for (size_t i = 2;; ++i, any = true) {
      const char c = in_.char_at(i);
      if (c == '-') {
        on = false;
      } else if (c == 'i') {
        flags.caseless = on;
      } else if (c == 'm') {
        flags.dot_takes_newline = on;
      } else if (any && c == end[0]) {
        in_.skip(i + 1);
        return flags;
      } else {
        return std::nullopt;
      }
    }
  }

  static std::string in_group(Flags outside, Flags inside, const std::string& text) {
    if (outside.caseless == inside.caseless) return "(?:" + text + ")";
    return (inside.caseless ? "(?i:" : "(?-i:") + text + ")";
  }

  std::string quantified(const Atom& atom) {
    const auto interval = in_.take_interval();
    const char c = in_.at_end() ? 0 : in_.peek();
    if (!interval && c != '*' && c != '+' && c != '?') return atom.text;
    last_literal_ = 0;
    if (!atom.repeats) in_.refuse("a quantifier of what has no width");
    std::string out = atom.text;
    if (interval) {
      const auto [low, high] = *interval;
      out += !high          ? fmt::format("{{{},}}", low)
             : low == *high ? fmt::format("{{{}}}", low)
                            : fmt::format("{{{},{}}}", low, *high);
      if (in_.take('+')) {  // no possessive quantifier: one more quantifier
        out = "(?:" + out + ")+";
      } else if (high != low && in_.take('?')) {
        out += '?';
      }
    } else {
      in_.skip(1);
      out += c;
      if (in_.take('?')) {
        out += '?';
      } else if (in_.take('+')) {
        out += '+';
      }
    }
    const char next = in_.at_end() ? 0 : in_.peek();
    if (next == '*' || next == '+' || next == '?' || in_.take_interval()) {
      in_.refuse("a quantifier of a quantifier");
    }
    return out;
  }

  RegexReader in_;
  char32_t last_literal_ = 0;  // right before; 0 where it was no literal
};

}  // namespace

std::string translate_regex(std::string_view regex, const std::string& where) {
  return Translator(regex, where).run();
}

}  // namespace tessera::launch
