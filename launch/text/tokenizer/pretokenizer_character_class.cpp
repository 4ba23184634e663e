#include "launch/text/tokenizer/pretokenizer_character_class.h"

#include <cctype>
#include <optional>
#include <vector>

#include "launch/text/tokenizer/pretokenizer_classes.h"
#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

/// A union: members between brackets, and expressions that each match one character.
struct Union {
  std::string members;
  std::vector<std::string> others;

  std::string expression() const {
    if (others.empty()) return "[" + members + "]";
    std::string joined = members.empty() ? "" : "[" + members + "]|";
    for (size_t i = 0; i < others.size(); ++i) joined += (i ? "|" : "") + others[i];
    // Several may match, and all match one character: none is worth going back to.
    return "(?>" + joined + ")";
  }
};

class ClassReader {
 public:
  ClassReader(RegexReader& in, bool caseless) : in_(in), caseless_(caseless) {}

  std::string read(int depth, bool in_negated) {
    constexpr int kDeepest = 20;
    if (depth > kDeepest) in_.refuse("classes nested deeper than 20");
    if (depth > 0 && caseless_) in_.refuse("nested classes without regard to case");
    in_.skip(1);
    const bool negated = in_.take('^');
    // Oniguruma loses members beyond ASCII of some.
    if (negated && in_negated) in_.refuse("a negated class in a negated class");
    if (in_.peek() == ']') in_.refuse("a class that is empty or begins with ']'");
    std::vector<Union> sets(1);  // of which all must hold
    while (!in_.take(']')) {
      if (in_.take("&&")) {
        if (caseless_) in_.refuse("'&&' without regard to case");
        sets.emplace_back();
      } else {
        read_item(sets.back(), depth, negated || in_negated);
      }
    }
    for (const Union& set : sets) {
      if (set.members.empty() && set.others.empty()) in_.refuse("an empty part of a class");
    }
    if (sets.size() == 1 && sets[0].others.empty()) {
      return fmt::format("[{}{}]", negated ? "^" : "", sets[0].members);
    }
    std::string all;
    for (size_t i = 0; i + 1 < sets.size(); ++i) all += "(?=" + sets[i].expression() + ")";
    all += sets.back().expression();
    return negated ? "(?:(?!" + all + ")(?s:.))" : "(?:" + all + ")";
  }

 private:
  void read_item(Union& set, int depth, bool negated) {
    if (in_.starts_with("[:")) return read_posix(set);
    if (in_.peek() == '[') {
      set.others.push_back(read(depth + 1, negated));
      return;
    }
    if (in_.peek() == '\\') {
      if (const auto escaped = in_.take_escaped_set(caseless_, /*lone=*/false)) {
        add(*escaped, set);
        if (in_.peek() == '-' && in_.char_at(1) != ']') in_.refuse("a range from a set");
        return;
      }
    }
    const char32_t first = take_point();
    if (in_.peek() != '-' || in_.char_at(1) == ']') {
      set.members += spell_point(first);
      return;
    }
    in_.skip(1);
    if (in_.peek() == '[' || in_.starts_with("&&")) in_.refuse("a range to a set");
    const char32_t last = take_point();
    if (last < first) in_.refuse("a range out of order");
    if (in_.peek() == '-' && in_.char_at(1) != ']') in_.refuse("a range of a range");
    set.members += spell_point(first) + "-" + spell_point(last);
  }

  char32_t take_point() {
    auto point = in_.take_escaped_point();
    if (!point && in_.peek() == '\\') in_.refuse(fmt::format("'{}' in a class", in_.rest(2)));
    if (!point) point = in_.take_point();
    if (caseless_) in_.check_caseless(0, *point);
    return *point;
  }

  void read_posix(Union& set) {
    in_.skip(2);
    RegexReader::Set posix;
    posix.negated = in_.take('^');
    std::string name;
    while (std::isalpha(uint8_t(in_.peek()))) name += in_.take_char();
    const auto members = posix_members(name);
    if (!in_.take(":]") || !members || caseless_) {
      in_.refuse(fmt::format("the class '[:{}:]'", name));
    }
    posix.members = *members;
    add(posix, set);
  }

  static void add(const RegexReader::Set& added, Union& set) {
    if (added.negated) {
      set.others.push_back("[^" + added.members + "]");
    } else {
      set.members += added.members;
    }
  }

  RegexReader& in_;
  bool caseless_;
};

}  // namespace

std::string translate_character_class(RegexReader& in, bool caseless) {
  return ClassReader(in, caseless).read(0, /*in_negated=*/false);
}

}  // namespace tessera::launch
