#include "launch/text/tokenizer/pretokenizer_classes.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "launch/text/tokenizer/pretokenizer_unicode.h"

namespace tessera::launch {
namespace {

using Table = std::map<std::string, std::string, std::less<>>;

/// White_Space; PCRE2's `\s` counts U+180E too.
constexpr std::string_view kWhiteSpace =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f})"
    R"(\x{3000})";
constexpr std::string_view kHexDigits = "0-9a-fA-F";

template <class... Parts>
std::string join(const Parts&... parts) {
  std::string joined;
  ((joined += parts), ...);
  return joined;
}

void add_categories(Table& table) {
  const auto add = [&](const char* name, const char* longer, const std::string& added) {
    table[name] = table[longer] = fmt::format(R"(\p{{{}}}{})", name, added);
  };
  const std::string letters =
      join(kNewUppercase, kNewLowercase, kNewModifierLetters, kNewOtherLetters);
  add("L", "letter", letters);
  add("Lu", "uppercaseletter", std::string(kNewUppercase));
  add("Ll", "lowercaseletter", std::string(kNewLowercase));
  add("Lt", "titlecaseletter", "");
  add("Lm", "modifierletter", std::string(kNewModifierLetters));
  add("Lo", "otherletter", std::string(kNewOtherLetters));
  add("M", "mark", std::string(kNewMarks));
  add("Me", "enclosingmark", "");
  add("N", "number", join(kNewDigits, kNewOtherNumbers));
  add("Nd", "decimalnumber", std::string(kNewDigits));
  add("Nl", "letternumber", "");
  add("No", "othernumber", std::string(kNewOtherNumbers));
  add("P", "punctuation", join(kNewDashes, kNewOtherPunctuation));
  add("Pc", "connectorpunctuation", "");
  add("Pd", "dashpunctuation", std::string(kNewDashes));
  add("Ps", "openpunctuation", "");
  add("Pe", "closepunctuation", "");
  add("Pi", "initialpunctuation", "");
  add("Pf", "finalpunctuation", "");
  add("Po", "otherpunctuation", std::string(kNewOtherPunctuation));
  add("S", "symbol", join(kNewMathSymbols, kNewOtherSymbols));
  add("Sm", "mathsymbol", std::string(kNewMathSymbols));
  add("Sc", "currencysymbol", "");
  add("Sk", "modifiersymbol", "");
  add("So", "othersymbol", std::string(kNewOtherSymbols));
  add("Z", "separator", "");
  add("Zs", "spaceseparator", "");
  add("Zl", "lineseparator", "");
  add("Zp", "paragraphseparator", "");
  add("Cc", "control", "");
  add("Co", "privateuse", "");
  table["alphabetic"] = join(R"(\p{Alphabetic})", letters, kNewAlphabetic);
  table["uppercase"] = join(R"(\p{Uppercase})", kNewUppercase);
  table["lowercase"] = join(R"(\p{Lowercase})", kNewLowercase, kNewOtherLowercase);
  table["punct"] = table["P"];  // less than [:punct:]
  table["whitespace"] = std::string(kWhiteSpace);
}

void add_scripts(Table& table) {
  // The script of a character, not the scripts that use it.
  const auto add = [&](const char* name, std::string_view added) {
    table[name] = fmt::format(R"(\p{{sc:{}}}{})", name, added);
  };
  for (const char* unchanged :
       {"hangul", "greek", "hebrew", "thai", "bengali", "tamil", "armenian", "georgian", "bopomofo",
        "khmer", "tibetan", "ethiopic", "mongolian"}) {
    add(unchanged, "");
  }
  add("han", kNewHan);
  add("hiragana", kNewHiragana);
  add("katakana", kNewKatakana);
  add("latin", kNewLatin);
  add("cyrillic", kNewCyrillic);
  add("arabic", kNewArabic);
  add("devanagari", kNewDevanagari);
  add("lao", kNewLao);
  add("myanmar", kNewMyanmar);
}

std::string plain_name(std::string_view name) {
  std::string plain;
  for (char c : name) {
    if (c != ' ' && c != '_' && c != '-') plain += char(std::tolower(uint8_t(c)));
  }
  return plain;
}

Table make_properties() {
  Table written, table;
  add_categories(written);
  add_scripts(written);
  for (auto& [name, members] : written) table.emplace(plain_name(name), std::move(members));
  return table;
}

const Table& properties() {
  static const Table table = make_properties();
  return table;
}

const Table& posix_classes() {
  static const Table table = [] {
    const auto of = [](const char* name) { return properties().at(name); };
    return Table{{"alpha", of("alphabetic")},
                 {"digit", of("nd")},
                 {"alnum", of("alphabetic") + of("nd")},
                 {"upper", of("uppercase")},
                 {"lower", of("lowercase")},
                 {"punct", of("p") + of("s")},
                 {"space", of("whitespace")},
                 {"blank", R"(\x{9})" + of("zs")},
                 {"cntrl", of("cc")},
                 {"xdigit", std::string(kHexDigits)},
                 {"ascii", R"(\x{0}-\x{7f})"},
                 {"word", of("l") + of("m") + of("nd") + of("pc") + std::string(kOtherWordPoints)}};
  }();
  return table;
}

std::optional<std::string> find(const Table& table, std::string_view name) {
  const auto found = table.find(name);
  if (found == table.end()) return std::nullopt;
  return found->second;
}

}  // namespace

std::string lone_word_members() { return posix_classes().at("word") + std::string(kFractions); }

std::optional<std::string> property_members(std::string_view name) {
  const std::string plain = plain_name(name);
  const auto members = find(properties(), plain);
  return members ? members : find(posix_classes(), plain);
}

std::optional<std::string> posix_members(std::string_view name) {
  return find(posix_classes(), name);
}

std::optional<std::string> escape_members(char letter) {
  switch (letter) {
    case 's':
      return std::string(kWhiteSpace);
    case 'd':
      return property_members("Nd");
    case 'w':
      return posix_members("word");
    case 'h':
      return std::string(kHexDigits);
    default:
      return std::nullopt;
  }
}

}  // namespace tessera::launch
