#include "launch/text/tokenizer/tokenizer_normalizer.h"

#include <memory>
#include <utility>

#include "launch/text/tokenizer/base64.h"
#include "launch/text/tokenizer/byte_stand_ins.h"
#include "launch/text/tokenizer/pretokenizer_pattern.h"
#include "launch/text/tokenizer/pretokenizer_split.h"
#include "launch/text/tokenizer/tokenizer_charsmap.h"
#include "launch/text/tokenizer/tokenizer_fields.h"
#include "launch/text/tokenizer/tokenizer_unicode_forms.h"
#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

/// The text with change(point, changed) for every code point: what it appends to `changed` stands
/// for the point.
template <class Change>
AlignedText change_points(AlignedView text, Change change) {
  AlignedText out;
  out.text.reserve(text.text.size());
  out.origin.reserve(text.text.size());
  std::string changed;
  for (size_t at = 0; at < text.text.size(); at += utf8_length(text.text[at])) {
    changed.clear();
    change(utf8_at(text.text, at), changed);
    out.append(changed, text.origin[at]);
  }
  return out;
}

template <bool (*is_removed)(char32_t)>
AlignedText without(AlignedView text) {
  return change_points(text, [](char32_t point, std::string& out) {
    if (!is_removed(point)) append_utf8(out, point);
  });
}

AlignedText to_lower(AlignedView text) {
  return change_points(text, [](char32_t point, std::string& out) {
    constexpr char32_t kIWithDot = 0x130, kDot = 0x307;
    append_utf8(out, point == kIWithDot ? U'i' : lower_case(point));
    if (point == kIWithDot) append_utf8(out, kDot);
  });
}

/// SentencePiece's rules for machine translation: controls go, odd spaces become plain ones.
AlignedText to_nmt(AlignedView text) {
  return change_points(text, [](char32_t point, std::string& out) {
    const bool removed = (0x1 <= point && point <= 0x8) || point == 0xb ||
                         (0xe <= point && point <= 0x1f) || point == 0x7f || point == 0x8f ||
                         point == 0x9f;
    const bool space = point == 0x9 || point == 0xa || point == 0xc || point == 0xd ||
                       point == 0x1680 || (0x200b <= point && point <= 0x200f) || point == 0x2028 ||
                       point == 0x2029 || point == 0x2581 || point == 0xfeff || point == 0xfffd;
    if (!removed) append_utf8(out, space ? U' ' : point);
  });
}

AlignedText to_clean(AlignedView text) {
  return change_points(text, [](char32_t point, std::string& out) {
    if (!is_bert_control(point)) append_utf8(out, is_white_space(point) ? U' ' : point);
  });
}

AlignedText with_ideographs_apart(AlignedView text) {
  return change_points(text, [](char32_t point, std::string& out) {
    if (!is_bert_ideograph(point)) return append_utf8(out, point);
    out += ' ';
    append_utf8(out, point);
    out += ' ';
  });
}

AlignedText stripped(AlignedView text, bool left, bool right) {
  size_t begin = 0, end = text.text.size();
  while (left && begin < end && is_white_space(utf8_at(text.text, begin))) {
    begin += utf8_length(text.text[begin]);
  }
  while (right && end > begin) {
    const size_t last = previous_point(text.text, end);
    if (!is_white_space(utf8_at(text.text, last))) break;
    end = last;
  }
  AlignedText out;
  out.append(text.part(begin, end));
  return out;
}

AlignedText replace_matches(AlignedView text, const Pattern& pattern, std::string_view content) {
  AlignedText out;
  const auto find = [&](size_t from) { return pattern.find(text.text, from); };
  for (const Stretch& part : find_stretches(text.text, /*invert=*/false, find)) {
    if (part.matches) {
      out.append(content, text.origin[std::min(part.begin, text.text.size() - 1)]);
    } else {
      out.append(text.part(part.begin, part.end));
    }
  }
  return out;
}

}  // namespace

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

AlignedText Normalizer::normalize(AlignedView text) const {
  AlignedText now;
  now.append(text);
  for (const Step& step : steps_) {
    if (now.text.empty()) break;
    now = step(now.view());
    if (now.text.size() > size_t{INT32_MAX}) {
      fail("the normalizer makes a text of {} bytes; the longest has {}", now.text.size(),
           INT32_MAX);
    }
  }
  return now;
}

Normalizer::Normalizer(const nlohmann::json& node, const std::string& source) {
  if (!node.is_null()) add(node, source + ": normalizer");
}

void Normalizer::add(const nlohmann::json& node, const std::string& where) {
  const std::string type = string_field(node, "type", where);
  if (type == "Sequence") {
    for (const auto& part : array_field(node, "normalizers", where)) add(part, where);
  } else if (type == "Prepend") {
    prepends_ = true;
    steps_.push_back([prefix = string_field(node, "prepend", where)](AlignedView text) {
      AlignedText out;
      out.append(prefix, text.origin[0]);
      out.append(text);
      return out;
    });
  } else if (type == "Replace") {
    add_replace(node, where);
  } else if (type == "Strip") {
    const bool left = bool_field(node, "strip_left", true, where);
    const bool right = bool_field(node, "strip_right", true, where);
    steps_.push_back([=](AlignedView text) { return stripped(text, left, right); });
  } else if (type == "Precompiled") {
    const std::string in_map = where + ": precompiled_charsmap";
    const auto blob = bytes_of_base64(string_field(node, "precompiled_charsmap", where));
    if (!blob) fail("{} is no base64", in_map);
    const auto map = std::make_shared<const Charsmap>(*blob, in_map);
    steps_.push_back([map](AlignedView text) { return map->normalize(text); });
  } else if (type == "BertNormalizer") {
    add_bert(node, where);
  } else if (!add_plain(type)) {
    fail(
        "{}: '{}' is not supported; supported are NFC, NFD, NFKC, NFKD, Lowercase, Strip, "
        "StripAccents, Replace, Prepend, Precompiled, Nmt, ByteLevel, BertNormalizer and Sequence",
        where, io::printable(type));
  }
}

bool Normalizer::add_plain(const std::string& type) {
  constexpr std::pair<std::string_view, UnicodeForm> kForms[] = {{"NFC", UnicodeForm::kNfc},
                                                                 {"NFD", UnicodeForm::kNfd},
                                                                 {"NFKC", UnicodeForm::kNfkc},
                                                                 {"NFKD", UnicodeForm::kNfkd}};
  for (const auto& [name, form] : kForms) {
    if (type != name) continue;
    steps_.push_back([form = form](AlignedView text) { return to_unicode_form(text, form); });
    return true;
  }
  constexpr std::pair<std::string_view, AlignedText (*)(AlignedView)> kPlain[] = {
      {"Lowercase", to_lower},
      {"StripAccents", without<is_mark>},
      {"Nmt", to_nmt},
      {"ByteLevel", spell_bytes}};
  for (const auto& [name, change] : kPlain) {
    if (type != name) continue;
    steps_.push_back(change);
    return true;
  }
  return false;
}

void Normalizer::add_replace(const nlohmann::json& node, const std::string& where) {
  const nlohmann::json& pattern = field(node, "pattern", where);
  const std::string content = string_field(node, "content", where);
  if (pattern.is_object() && pattern.contains("Regex")) {
    const auto regex = Pattern::read(string_field(pattern, "Regex", where), where);
    steps_.push_back(
        [regex, content](AlignedView text) { return replace_matches(text, regex, content); });
    return;
  }
  const std::string plain = string_field(pattern, "String", where);
  if (plain.empty()) fail("{}: Replace has an empty pattern", where);
  steps_.push_back(
      [plain, content](AlignedView text) { return replace_all(text, plain, content); });
}

void Normalizer::add_bert(const nlohmann::json& node, const std::string& where) {
  const bool lowercase = bool_field(node, "lowercase", true, where);
  if (bool_field(node, "clean_text", true, where)) steps_.push_back(to_clean);
  if (bool_field(node, "handle_chinese_chars", true, where)) {
    steps_.push_back(with_ideographs_apart);
  }
  if (bool_field(node, "strip_accents", lowercase, where)) {
    steps_.push_back([](AlignedView text) { return to_unicode_form(text, UnicodeForm::kNfd); });
    steps_.push_back(without<is_nonspacing_mark>);
  }
  if (lowercase) steps_.push_back(to_lower);
}

}  // namespace tessera::launch
