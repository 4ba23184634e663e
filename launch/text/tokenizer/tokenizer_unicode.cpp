#include "launch/text/tokenizer/tokenizer_unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <span>

#include "launch/text/tokenizer/tokenizer_unicode_tables.h"

namespace tessera::launch {
namespace {

bool contains(std::span<const CodePointRange> ranges, char32_t point) {
  const auto found =
      std::upper_bound(ranges.begin(), ranges.end(), point,
                       [](char32_t p, const CodePointRange& range) { return p < range.first; });
  return found != ranges.begin() && point <= std::prev(found)->last;
}

int category_of(char32_t point) { return int(utf8proc_category(utf8proc_int32_t(point))); }

}  // namespace

bool is_white_space(char32_t point) {
  return (0x9 <= point && point <= 0xd) || point == 0x20 || point == 0x85 || point == 0xa0 ||
         point == 0x1680 || (0x2000 <= point && point <= 0x200a) || point == 0x2028 ||
         point == 0x2029 || point == 0x202f || point == 0x205f || point == 0x3000;
}

bool is_word_point(char32_t point) {
  switch (category_of(point)) {  // of many, which others may extend
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:  // joiners, and the circled and squared letters, which are Alphabetic symbols
      return point == 0x200c || point == 0x200d || (0x24b6 <= point && point <= 0x24e9) ||
             (0x1f130 <= point && point <= 0x1f149) || (0x1f150 <= point && point <= 0x1f169) ||
             (0x1f170 <= point && point <= 0x1f189) || contains(kNewWordPoints, point);
  }
}

bool is_numeric(char32_t point) {
  if (point < 0x80) return '0' <= point && point <= '9';
  const int category = category_of(point);
  return category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL ||
         category == UTF8PROC_CATEGORY_NO || contains(kNewNumeric, point);
}

bool is_punctuation(char32_t point) {
  if (point >= 0x80) return contains(kPunctuation, point);
  return ('!' <= point && point <= '/') || (':' <= point && point <= '@') ||
         ('[' <= point && point <= '`') || ('{' <= point && point <= '~');
}

bool is_mark(char32_t point) { return point >= 0x300 && contains(kMarks, point); }

bool is_nonspacing_mark(char32_t point) {
  return point >= 0x300 && contains(kNonspacingMarks, point);
}

bool is_bert_control(char32_t point) { return contains(kControls, point); }

bool is_bert_ideograph(char32_t point) {
  return (0x3400 <= point && point <= 0x4dbf) || (0x4e00 <= point && point <= 0x9fff) ||
         (0xf900 <= point && point <= 0xfaff) || (0x20000 <= point && point <= 0x2a6df) ||
         (0x2a700 <= point && point <= 0x2b81f) || (0x2b920 <= point && point <= 0x2ceaf) ||
         (0x2f800 <= point && point <= 0x2fa1f);
}

char32_t lower_case(char32_t point) {
  struct Pair {
    char32_t upper, lower;
  };
  // Pairs that came after Unicode 14; those of two whole blocks stand at one distance.
  constexpr Pair kNew[] = {{0x1c89, 0x1c8a}, {0xa7cb, 0x264},  {0xa7cc, 0xa7cd}, {0xa7ce, 0xa7cf},
                           {0xa7d2, 0xa7d3}, {0xa7d4, 0xa7d5}, {0xa7da, 0xa7db}, {0xa7dc, 0x19b}};
  if (0x10d50 <= point && point <= 0x10d65) return point + 0x20;
  if (0x16ea0 <= point && point <= 0x16eb8) return point + 0x1b;
  for (const Pair& pair : kNew) {
    if (pair.upper == point) return pair.lower;
  }
  return char32_t(utf8proc_tolower(utf8proc_int32_t(point)));
}

bool is_uncombining(char32_t point) { return contains(kUncombining, point); }
bool is_undecomposed(char32_t point) { return contains(kUndecomposed, point); }

}  // namespace tessera::launch
