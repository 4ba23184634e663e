#include "launch/text/tokenizer_normalizer.h"

#include <utf8proc.h>

#include <algorithm>

#include "launch/text/tokenizer_fields.h"
#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

const utf8proc_property_t& property_of(char32_t point) {
  return *utf8proc_get_property(utf8proc_int32_t(point));
}

/// Whether composition never joins `point` to what stands before it. Marks and vowel or final
/// jamo may join; others are only known to in scripts added with Unicode 16.
bool starts_anew(char32_t point) {
  if (point < 0x300) return true;
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

void compose_part(AlignedView part, std::vector<utf8proc_int32_t>& points, AlignedText& out) {
  points.clear();
  for (size_t at = 0; at < part.text.size(); at += utf8_length(part.text[at])) {
    constexpr int kLongest = 8;  // a canonical decomposition has at most four code points
    utf8proc_int32_t parts[kLongest];
    int boundary = 0;
    const auto count = utf8proc_decompose_char(utf8proc_int32_t(utf8_at(part.text, at)), parts,
                                               kLongest, UTF8PROC_DECOMPOSE, &boundary);
    TESSERA_CHECK(0 < count && count <= kLongest);
    points.insert(points.end(), parts, parts + count);
  }
  // Sorting here keeps a long run of marks at O(n log n); utf8proc would sort it by insertion.
  const auto combines = [](utf8proc_int32_t p) {
    return property_of(char32_t(p)).combining_class != 0;
  };
  for (auto from = points.begin(); from != points.end();) {
    from = std::find_if(from, points.end(), combines);
    const auto to = std::find_if_not(from, points.end(), combines);
    std::stable_sort(from, to, [](utf8proc_int32_t a, utf8proc_int32_t b) {
      return property_of(char32_t(a)).combining_class < property_of(char32_t(b)).combining_class;
    });
    from = to;
  }
  const auto length =
      utf8proc_normalize_utf32(points.data(), utf8proc_ssize_t(points.size()),
                               static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  TESSERA_CHECK(length >= 0);
  std::string composed;
  for (utf8proc_ssize_t i = 0; i < length; ++i) {
    append_utf8(composed, char32_t(points[size_t(i)]));
  }
  append_changed(part, composed, out);
}

}  // namespace

AlignedText compose_nfc(AlignedView text) {
  AlignedText out;
  std::vector<utf8proc_int32_t> points;
  size_t begin = 0;
  while (begin < text.text.size()) {
    const size_t first = utf8_length(text.text[begin]);
    size_t end = begin + first;
    while (end < text.text.size() && !starts_anew(utf8_at(text.text, end))) {
      end += utf8_length(text.text[end]);
    }
    if (first == 1 && end == begin + 1) {  // ASCII that nothing joins
      out.append(text.part(begin, end));
    } else {
      compose_part(text.part(begin, end), points, out);
    }
    begin = end;
  }
  return out;
}

AlignedText replace_all(AlignedView text, std::string_view pattern, std::string_view content) {
  AlignedText out;
  size_t begin = 0;
  while (true) {
    const size_t found = text.text.find(pattern, begin);
    if (found == std::string_view::npos) break;
    out.append(text.part(begin, found));
    out.append(content, text.origin[found]);
    begin = found + pattern.size();
  }
  out.append(text.part(begin, text.text.size()));
  return out;
}

bool Normalizer::prepends() const {
  return std::any_of(steps_.begin(), steps_.end(),
                     [](const Step& step) { return step.kind == Kind::kPrepend; });
}

AlignedText Normalizer::normalize(AlignedView text) const {
  AlignedText now;
  now.append(text);
  for (const Step& step : steps_) {
    if (now.text.empty()) break;
    AlignedText next;
    switch (step.kind) {
      case Kind::kNfc:
        next = compose_nfc(now.view());
        break;
      case Kind::kReplace:
        next = replace_all(now.view(), step.pattern, step.content);
        break;
      case Kind::kPrepend:
        next.append(step.content, now.origin[0]);
        next.append(now.view());
        break;
    }
    now = std::move(next);
  }
  return now;
}

void Normalizer::add(const nlohmann::json& node, const std::string& source) {
  if (node.is_null()) return;
  const std::string where = source + ": normalizer";
  const std::string type = string_field(node, "type", where);
  if (type == "Sequence") {
    for (const auto& part : array_field(node, "normalizers", where)) add(part, source);
  } else if (type == "NFC") {
    steps_.push_back({Kind::kNfc, "", ""});
  } else if (type == "Prepend") {
    steps_.push_back({Kind::kPrepend, "", string_field(node, "prepend", where)});
  } else if (type == "Replace") {
    const nlohmann::json& pattern = field(node, "pattern", where);
    if (!pattern.is_object() || !pattern.contains("String")) {
      fail("{}: Replace is supported with a plain string as its pattern only, not {}", where,
           excerpt(pattern));
    }
    steps_.push_back({Kind::kReplace, string_field(pattern, "String", where),
                      string_field(node, "content", where)});
    if (steps_.back().pattern.empty()) fail("{}: Replace has an empty pattern", where);
  } else {
    fail("{}: '{}' is not supported; supported are NFC, Prepend, Replace and Sequence", where,
         io::printable(type));
  }
}

}  // namespace tessera::launch
