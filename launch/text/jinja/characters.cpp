#include "launch/text/jinja/characters.h"

#include <utf8proc.h>

#include <algorithm>
#include <iterator>

#include "launch/text/tokenizer/tokenizer_text.h"

namespace tessera::launch::jinja {
namespace {

struct PointRange {
  char32_t first;
  char32_t last;
};

template <size_t N>
bool in_ranges(const PointRange (&ranges)[N], char32_t point) {
  return std::any_of(std::begin(ranges), std::end(ranges), [&](const PointRange& range) {
    return range.first <= point && point <= range.last;
  });
}

/// Unicode's White_Space, and the four separators of ASCII.
constexpr PointRange kSpaces[] = {
    {0x9, 0xd},       {0x1c, 0x20},     {0x85, 0x85},     {0xa0, 0xa0},     {0x1680, 0x1680},
    {0x2000, 0x200a}, {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}};

/// Digits that are not decimal: superscripts, circled digits and the like.
constexpr PointRange kDigits[] = {
    {0xb2, 0xb3},       {0xb9, 0xb9},       {0x1369, 0x1371},   {0x19da, 0x19da},
    {0x2070, 0x2070},   {0x2074, 0x2079},   {0x2080, 0x2089},   {0x2460, 0x2468},
    {0x2474, 0x247c},   {0x2488, 0x2490},   {0x24ea, 0x24ea},   {0x24f5, 0x24fd},
    {0x24ff, 0x24ff},   {0x2776, 0x277e},   {0x2780, 0x2788},   {0x278a, 0x2792},
    {0x10a40, 0x10a43}, {0x10e60, 0x10e68}, {0x11052, 0x1105a}, {0x1f100, 0x1f10a}};

/// Unicode's Other_Lowercase and Other_Uppercase.
constexpr PointRange kOtherLower[] = {
    {0xaa, 0xaa},       {0xba, 0xba},       {0x2b0, 0x2b8},     {0x2c0, 0x2c1},    {0x2e0, 0x2e4},
    {0x345, 0x345},     {0x37a, 0x37a},     {0x1d2c, 0x1d6a},   {0x1d78, 0x1d78},  {0x1d9b, 0x1dbf},
    {0x2071, 0x2071},   {0x207f, 0x207f},   {0x2090, 0x209c},   {0x2170, 0x217f},  {0x24d0, 0x24e9},
    {0x2c7c, 0x2c7d},   {0xa69c, 0xa69d},   {0xa770, 0xa770},   {0xa7f8, 0xa7f9},  {0xab5c, 0xab5f},
    {0x10780, 0x10780}, {0x10783, 0x10785}, {0x10787, 0x107b0}, {0x107b2, 0x107ba}};
constexpr PointRange kOtherUpper[] = {
    {0x2160, 0x216f}, {0x24b6, 0x24cf}, {0x1f130, 0x1f149}, {0x1f150, 0x1f169}, {0x1f170, 0x1f189}};

/// Letters of category Lo that are numbers: of Chinese and its neighbours.
constexpr char32_t kNumberLetters[] =
    U"㐅㒃㠪㭍一七万三九二五亖亿什仟仨伍佰億兆兩八六十"
    U"千卄卅卌叁参參叄四壱壹幺廾廿弌弍弎弐拾捌柒漆玖百"
    U"肆萬貮貳贰阡陆陌陸零"
    U"\U0000f96b\U0000f973\U0000f978\U0000f9b2\U0000f9d1\U0000f9d3\U0000f9fd"
    U"\U00020001\U00020064\U000200e2\U00020121\U0002092a\U00020983\U0002098c"
    U"\U0002099c\U00020aea\U00020afd\U00020b19\U00022390\U00022998\U00023b1b"
    U"\U0002626d\U0002f890";

/// A letter whose upper case, or title case, is more than one character.
struct Expansion {
  char32_t point;
  const char* upper;
  const char* title;
};

// The Greek letters 1F80 to 1FAF follow a rule; see append_upper.
constexpr Expansion kExpansions[] = {
    {0x00df, "SS", "Ss"},
    {0x0149, "\u02bcN", "\u02bcN"},
    {0x01f0, "J\u030c", "J\u030c"},
    {0x0390, "\u0399\u0308\u0301", "\u0399\u0308\u0301"},
    {0x03b0, "\u03a5\u0308\u0301", "\u03a5\u0308\u0301"},
    {0x0587, "\u0535\u0552", "\u0535\u0582"},
    {0x1e96, "H\u0331", "H\u0331"},
    {0x1e97, "T\u0308", "T\u0308"},
    {0x1e98, "W\u030a", "W\u030a"},
    {0x1e99, "Y\u030a", "Y\u030a"},
    {0x1e9a, "A\u02be", "A\u02be"},
    {0x1f50, "\u03a5\u0313", "\u03a5\u0313"},
    {0x1f52, "\u03a5\u0313\u0300", "\u03a5\u0313\u0300"},
    {0x1f54, "\u03a5\u0313\u0301", "\u03a5\u0313\u0301"},
    {0x1f56, "\u03a5\u0313\u0342", "\u03a5\u0313\u0342"},
    {0x1fb2, "\u1fba\u0399", "\u1fba\u0345"},
    {0x1fb3, "\u0391\u0399", "\u1fbc"},
    {0x1fb4, "\u0386\u0399", "\u0386\u0345"},
    {0x1fb6, "\u0391\u0342", "\u0391\u0342"},
    {0x1fb7, "\u0391\u0342\u0399", "\u0391\u0342\u0345"},
    {0x1fbc, "\u0391\u0399", "\u1fbc"},
    {0x1fc2, "\u1fca\u0399", "\u1fca\u0345"},
    {0x1fc3, "\u0397\u0399", "\u1fcc"},
    {0x1fc4, "\u0389\u0399", "\u0389\u0345"},
    {0x1fc6, "\u0397\u0342", "\u0397\u0342"},
    {0x1fc7, "\u0397\u0342\u0399", "\u0397\u0342\u0345"},
    {0x1fcc, "\u0397\u0399", "\u1fcc"},
    {0x1fd2, "\u0399\u0308\u0300", "\u0399\u0308\u0300"},
    {0x1fd3, "\u0399\u0308\u0301", "\u0399\u0308\u0301"},
    {0x1fd6, "\u0399\u0342", "\u0399\u0342"},
    {0x1fd7, "\u0399\u0308\u0342", "\u0399\u0308\u0342"},
    {0x1fe2, "\u03a5\u0308\u0300", "\u03a5\u0308\u0300"},
    {0x1fe3, "\u03a5\u0308\u0301", "\u03a5\u0308\u0301"},
    {0x1fe4, "\u03a1\u0313", "\u03a1\u0313"},
    {0x1fe6, "\u03a5\u0342", "\u03a5\u0342"},
    {0x1fe7, "\u03a5\u0308\u0342", "\u03a5\u0308\u0342"},
    {0x1ff2, "\u1ffa\u0399", "\u1ffa\u0345"},
    {0x1ff3, "\u03a9\u0399", "\u1ffc"},
    {0x1ff4, "\u038f\u0399", "\u038f\u0345"},
    {0x1ff6, "\u03a9\u0342", "\u03a9\u0342"},
    {0x1ff7, "\u03a9\u0342\u0399", "\u03a9\u0342\u0345"},
    {0x1ffc, "\u03a9\u0399", "\u1ffc"},
    {0xfb00, "FF", "Ff"},
    {0xfb01, "FI", "Fi"},
    {0xfb02, "FL", "Fl"},
    {0xfb03, "FFI", "Ffi"},
    {0xfb04, "FFL", "Ffl"},
    {0xfb05, "ST", "St"},
    {0xfb06, "ST", "St"},
    {0xfb13, "\u0544\u0546", "\u0544\u0576"},
    {0xfb14, "\u0544\u0535", "\u0544\u0565"},
    {0xfb15, "\u0544\u053b", "\u0544\u056b"},
    {0xfb16, "\u054e\u0546", "\u054e\u0576"},
    {0xfb17, "\u0544\u053d", "\u0544\u056d"},
};

const Expansion* expansion_of(char32_t point) {
  if (point < 0xdf) return nullptr;
  const auto* found = std::lower_bound(
      std::begin(kExpansions), std::end(kExpansions), point,
      [](const Expansion& entry, char32_t wanted) { return entry.point < wanted; });
  return found != std::end(kExpansions) && found->point == point ? found : nullptr;
}

int category(char32_t point) { return int(utf8proc_category(utf8proc_int32_t(point))); }

/// What stands between letters without ending a word: marks, modifiers, some punctuation.
bool is_case_ignorable(char32_t point) {
  switch (category(point)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default:
      return point == '\'' || point == '.' || point == ':' || point == 0xb7 || point == 0x387 ||
             point == 0x55f || point == 0x5f4 || point == 0x2018 || point == 0x2019 ||
             point == 0x2024 || point == 0x2027 || point == 0xfe13 || point == 0xfe52 ||
             point == 0xfe55 || point == 0xff07 || point == 0xff0e || point == 0xff1a;
  }
}

/// Whether the sigma at `at` ends a word: a cased letter before it and none after it.
bool is_final_sigma(std::string_view text, size_t at) {
  size_t before = at;
  bool cased = false;
  while (before > 0) {
    do {
      --before;
    } while ((static_cast<unsigned char>(text[before]) & 0xc0) == 0x80);
    const char32_t point = utf8_at(text, before);
    if (is_case_ignorable(point)) continue;
    cased = is_cased(point);
    break;
  }
  if (!cased) return false;
  for (size_t after = at + 2; after < text.size(); after += utf8_length(text[after])) {
    const char32_t point = utf8_at(text, after);
    if (!is_case_ignorable(point)) return !is_cased(point);
  }
  return true;
}

/// Whether some characters have a case, and all of those are as `is` has it.
bool cased_are(bool (*is)(char32_t), std::string_view text) {
  bool any = false;
  for (size_t at = 0; at < text.size(); at += utf8_length(text[at])) {
    const char32_t point = utf8_at(text, at);
    if (!is_cased(point)) continue;
    if (!is(point)) return false;
    any = true;
  }
  return any;
}

}  // namespace

bool is_python_space(char32_t point) { return in_ranges(kSpaces, point); }

bool is_line_end(char32_t point) {
  return (0xa <= point && point <= 0xd) || (0x1c <= point && point <= 0x1e) || point == 0x85 ||
         point == 0x2028 || point == 0x2029;
}

bool is_alpha(char32_t point) {
  const int kind = category(point);
  return UTF8PROC_CATEGORY_LU <= kind && kind <= UTF8PROC_CATEGORY_LO;
}

bool is_decimal(char32_t point) { return category(point) == UTF8PROC_CATEGORY_ND; }

bool is_digit(char32_t point) { return is_decimal(point) || in_ranges(kDigits, point); }

bool is_numeric(char32_t point) {
  const int kind = category(point);
  if (UTF8PROC_CATEGORY_ND <= kind && kind <= UTF8PROC_CATEGORY_NO) return true;
  return kind == UTF8PROC_CATEGORY_LO &&
         std::u32string_view(kNumberLetters).find(point) != std::u32string_view::npos;
}

bool is_printable(char32_t point) {
  if (point < 0x7f) return point >= 0x20;
  const int kind = category(point);
  const bool separator = UTF8PROC_CATEGORY_ZS <= kind && kind <= UTF8PROC_CATEGORY_ZP;
  return kind != UTF8PROC_CATEGORY_CN && kind < UTF8PROC_CATEGORY_CC && !separator;
}

bool is_lower(char32_t point) {
  return category(point) == UTF8PROC_CATEGORY_LL || in_ranges(kOtherLower, point);
}

bool is_upper(char32_t point) {
  return category(point) == UTF8PROC_CATEGORY_LU || in_ranges(kOtherUpper, point);
}

bool is_title(char32_t point) { return category(point) == UTF8PROC_CATEGORY_LT; }

bool is_cased(char32_t point) { return is_lower(point) || is_upper(point) || is_title(point); }

bool is_lower_text(std::string_view text) { return cased_are(is_lower, text); }

bool is_upper_text(std::string_view text) { return cased_are(is_upper, text); }

void append_upper(std::string& out, char32_t point) {
  if (0x1f80 <= point && point <= 0x1faf) {  // with iota below, which stands apart in capitals
    const char32_t base = point < 0x1f90 ? 0x1f08 : point < 0x1fa0 ? 0x1f28 : 0x1f68;
    append_utf8(out, base + (point & 7));
    append_utf8(out, 0x399);
  } else if (const Expansion* expansion = expansion_of(point)) {
    out += expansion->upper;
  } else {
    append_utf8(out, char32_t(utf8proc_toupper(utf8proc_int32_t(point))));
  }
}

void append_title(std::string& out, char32_t point) {
  if (const Expansion* expansion = expansion_of(point)) {
    out += expansion->title;
  } else {
    append_utf8(out, char32_t(utf8proc_totitle(utf8proc_int32_t(point))));
  }
}

void append_lower(std::string& out, std::string_view text, size_t at) {
  const char32_t point = utf8_at(text, at);
  if (point == 0x130) {
    out += "i\u0307";
  } else if (point == 0x3a3) {
    append_utf8(out, is_final_sigma(text, at) ? 0x3c2 : 0x3c3);
  } else {
    append_utf8(out, char32_t(utf8proc_tolower(utf8proc_int32_t(point))));
  }
}

void append_folded(std::string& out, char32_t point) {
  utf8proc_int32_t folded[8];
  int boundary = 0;
  const auto count =
      utf8proc_decompose_char(utf8proc_int32_t(point), folded, 8, UTF8PROC_CASEFOLD, &boundary);
  for (utf8proc_ssize_t i = 0; i < count; ++i) append_utf8(out, char32_t(folded[i]));
}

}  // namespace tessera::launch::jinja
