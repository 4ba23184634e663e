#include "launch/text/tokenizer/tokenizer_unicode_forms.h"

#include <utf8proc.h>

#include <algorithm>

#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

using Points = std::vector<utf8proc_int32_t>;

const utf8proc_property_t& property_of(char32_t point) {
  return *utf8proc_get_property(utf8proc_int32_t(point));
}

int combining_class(utf8proc_int32_t point) {
  return is_uncombining(char32_t(point)) ? 0 : int(property_of(char32_t(point)).combining_class);
}

bool is_compatible(UnicodeForm form) {
  return form == UnicodeForm::kNfkc || form == UnicodeForm::kNfkd;
}

bool is_composed(UnicodeForm form) {
  return form == UnicodeForm::kNfc || form == UnicodeForm::kNfkc;
}

/// Appends what a character is taken apart into.
void decompose(char32_t point, UnicodeForm form, Points& out) {
  if (is_undecomposed(point)) {
    out.push_back(utf8proc_int32_t(point));
    return;
  }
  constexpr int kLongest = 32;  // the longest decomposition has 18 code points
  utf8proc_int32_t parts[kLongest];
  int boundary = 0;
  const int options = UTF8PROC_DECOMPOSE | (is_compatible(form) ? UTF8PROC_COMPAT : 0);
  const auto count = utf8proc_decompose_char(utf8proc_int32_t(point), parts, kLongest,
                                             utf8proc_option_t(options), &boundary);
  TESSERA_CHECK(0 < count && count <= kLongest);
  out.insert(out.end(), parts, parts + count);
}

/// Whether nothing that `point` is taken apart into moves before or joins what stands before it.
/// Marks and vowel or final jamo may join; others are only known to in scripts added with
/// Unicode 16.
bool starts_anew(char32_t point, UnicodeForm form, Points& parts) {
  if (point < 0x300) return true;
  if (is_compatible(form)) {
    parts.clear();
    decompose(point, form, parts);
    point = char32_t(parts[0]);
  }
  constexpr char32_t kDivesAkuruAa = 0x11930;  // part of a composition that the reference lacks
  if (is_uncombining(point) || point == kDivesAkuruAa) return true;
  const utf8proc_property_t& property = property_of(point);
  const auto category = property.category;
  const bool mark = category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC ||
                    category == UTF8PROC_CATEGORY_ME;
  const bool jamo = 0x1160 <= point && point <= 0x11ff;
  const bool kirat_rai = 0x16d60 <= point && point <= 0x16d6f;
  return property.combining_class == 0 && !mark && !jamo && !kirat_rai;
}

/// Appends what `part` became. What is the same at both ends stands where it stood; all between
/// comes from where the first change is.
void append_changed(AlignedView part, std::string_view now, AlignedText& out) {
  const std::string_view was = part.text;
  const size_t shorter = std::min(was.size(), now.size());
  const auto continues = [](char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; };
  size_t head = 0;
  while (head < shorter && was[head] == now[head]) ++head;
  while (head > 0 && ((head < was.size() && continues(was[head])) ||
                      (head < now.size() && continues(now[head])))) {
    --head;
  }
  size_t tail = 0;
  while (tail < shorter - head && was[was.size() - 1 - tail] == now[now.size() - 1 - tail]) ++tail;
  while (tail > 0 && continues(was[was.size() - tail])) --tail;
  out.append(part.part(0, head));
  if (head + tail < now.size()) {
    out.append(now.substr(head, now.size() - tail - head), part.origin[head]);
  }
  out.append(part.part(was.size() - tail, was.size()));
}

void append_part(AlignedView part, UnicodeForm form, Points& points, AlignedText& out) {
  points.clear();
  for (size_t at = 0; at < part.text.size(); at += utf8_length(part.text[at])) {
    decompose(utf8_at(part.text, at), form, points);
  }
  // Sorting here keeps a long run of marks at O(n log n); utf8proc would sort it by insertion.
  const auto combines = [](utf8proc_int32_t point) { return combining_class(point) != 0; };
  for (auto from = points.begin(); from != points.end();) {
    from = std::find_if(from, points.end(), combines);
    const auto to = std::find_if_not(from, points.end(), combines);
    std::stable_sort(from, to, [](utf8proc_int32_t a, utf8proc_int32_t b) {
      return combining_class(a) < combining_class(b);
    });
    from = to;
  }
  auto length = utf8proc_ssize_t(points.size());
  if (is_composed(form)) {
    length = utf8proc_normalize_utf32(
        points.data(), length, static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    TESSERA_CHECK(length >= 0);
  }
  std::string changed;
  for (utf8proc_ssize_t i = 0; i < length; ++i) {
    append_utf8(changed, char32_t(points[size_t(i)]));
  }
  append_changed(part, changed, out);
}

}  // namespace

AlignedText to_unicode_form(AlignedView text, UnicodeForm form) {
  AlignedText out;
  Points points;
  size_t unchanged = 0;  // where what was not yet appended begins
  size_t begin = 0;
  while (begin < text.text.size()) {
    const size_t first = utf8_length(text.text[begin]);
    size_t end = begin + first;
    while (end < text.text.size() && !starts_anew(utf8_at(text.text, end), form, points)) {
      end += utf8_length(text.text[end]);
    }
    if (first > 1 || end > begin + 1) {  // more than ASCII that nothing joins
      out.append(text.part(unchanged, begin));
      append_part(text.part(begin, end), form, points, out);
      unchanged = end;
    }
    begin = end;
  }
  out.append(text.part(unchanged, text.text.size()));
  return out;
}

}  // namespace tessera::launch
