#include "launch/text/tokenizer/pretokenizer.h"

#include <algorithm>

#include "launch/text/tokenizer/byte_stand_ins.h"
#include "launch/text/tokenizer/tokenizer_fields.h"
#include "launch/text/tokenizer/tokenizer_normalizer.h"
#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

std::optional<std::pair<size_t, size_t>> find_text(std::string_view text, const std::string& what,
                                                   size_t from) {
  const size_t found = text.find(what, from);
  if (found == std::string_view::npos) return std::nullopt;
  return std::pair(found, found + what.size());
}

/// A member that must be one character.
std::string character_field(const nlohmann::json& node, const char* key, const std::string& where) {
  const std::string text = string_field(node, key, where);
  if (text.empty() || utf8_length(text[0]) != text.size()) {
    fail("{}: '{}' must be one character, not '{}'", where, key, io::printable(text));
  }
  return text;
}

}  // namespace

Pretokenizer::Pretokenizer(const nlohmann::json& node, const std::string& source) {
  if (!node.is_null()) add(node, source + ": pre_tokenizer");
}

bool Pretokenizer::leave_byte_level() {
  if (steps_.empty() || !std::holds_alternative<SpellBytes>(steps_.back())) return false;
  steps_.pop_back();
  return true;
}

void Pretokenizer::split(AlignedView text, Words& words) const {
  words.views.assign(1, text);
  words.owned.clear();
  std::vector<AlignedView> before;
  for (const Step& step : steps_) {
    before.swap(words.views);
    words.views.clear();
    // Only the first part may go on from what stood before the text.
    const bool continues = words.continues;
    bool still_continues = false;
    for (size_t i = 0; i < before.size(); ++i) {
      words.continues = continues && i == 0;
      std::visit([&](const auto& kind) { apply(kind, before[i], words); }, step);
      still_continues |= words.continues;
    }
    words.continues = still_continues;
  }
}

void Pretokenizer::apply(const Split& split, AlignedView text, Words& words) {
  const auto find = [&](size_t from) {
    if (const auto* plain = std::get_if<std::string>(&split.what)) {
      return find_text(text.text, *plain, from);
    }
    if (const auto* pattern = std::get_if<Pattern>(&split.what)) {
      return pattern->find(text.text, from);
    }
    return std::get<FindMatch>(split.what)(text.text, from);
  };
  for (const Stretch& part :
       join_stretches(find_stretches(text.text, split.invert, find), split.behavior)) {
    if (part.begin == part.end) continue;
    if (part.matches && split.behavior == SplitBehavior::kRemoved) {
      if (part.begin == 0) words.continues = false;
      continue;
    }
    words.views.push_back(text.part(part.begin, part.end));
  }
}

void Pretokenizer::apply(const PrefixSpace&, AlignedView text, Words& words) {
  if (text.text.starts_with(' ') || words.continues) {
    words.views.push_back(text);
    return;
  }
  AlignedText& spaced = words.owned.emplace_back();
  spaced.append(" ", text.origin[0]);
  spaced.append(text);
  words.views.push_back(spaced.view());
}

void Pretokenizer::apply(const SpellBytes&, AlignedView text, Words& words) {
  words.views.push_back(words.owned.emplace_back(spell_bytes(text)).view());
}

void Pretokenizer::apply(const FixedLength& fixed, AlignedView text, Words& words) {
  size_t begin = 0;
  while (begin < text.text.size()) {
    size_t end = begin;
    for (size_t i = 0; i < fixed.length && end < text.text.size(); ++i) {
      end += utf8_length(text.text[end]);
    }
    words.views.push_back(text.part(begin, end));
    begin = end;
  }
}

void Pretokenizer::apply(const Metaspace& metaspace, AlignedView text, Words& words) {
  AlignedText& replaced = words.owned.emplace_back();
  using Prepend = Metaspace::Prepend;
  const bool prepend = !words.continues && !text.text.starts_with(' ') &&
                       !text.text.starts_with(metaspace.replacement) &&
                       (metaspace.prepend == Prepend::kAlways ||
                        (metaspace.prepend == Prepend::kFirst && text.origin[0] == 0));
  if (prepend) replaced.append(metaspace.replacement, text.origin[0]);
  const AlignedText rest = replace_all(text, " ", metaspace.replacement);
  replaced.append(rest.view());
  words.views.push_back(replaced.view());
}

void Pretokenizer::add(const nlohmann::json& node, const std::string& where) {
  const std::string type = string_field(node, "type", where);
  if (type == "Sequence") {
    for (const auto& part : array_field(node, "pretokenizers", where)) add(part, where);
  } else if (type == "Split") {
    add_split(node, where);
  } else if (type == "ByteLevel") {
    add_byte_level(node, where);
  } else if (type == "Metaspace") {
    add_metaspace(node, where);
  } else if (!add_by_class(type, node, where)) {
    fail(
        "{}: '{}' is not supported; supported are Split, Punctuation, Digits, ByteLevel, "
        "Metaspace, Whitespace, WhitespaceSplit, CharDelimiterSplit, BertPreTokenizer, "
        "FixedLength and Sequence",
        where, io::printable(type));
  }
}

bool Pretokenizer::add_by_class(const std::string& type, const nlohmann::json& node,
                                const std::string& where) {
  constexpr FindMatch kSpace = find_point<is_white_space>;
  constexpr FindMatch kPunctuation = find_point<is_punctuation>;
  if (type == "Digits") {
    const bool individual = bool_field(node, "individual_digits", false, where);
    steps_.push_back(Split{FindMatch(find_point<is_numeric>),
                           individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous});
  } else if (type == "Punctuation") {
    steps_.push_back(Split{kPunctuation, split_behavior(node, SplitBehavior::kIsolated, where)});
  } else if (type == "Whitespace") {
    steps_.push_back(Split{FindMatch(find_word), SplitBehavior::kRemoved, /*invert=*/true});
  } else if (type == "WhitespaceSplit") {
    steps_.push_back(Split{kSpace, SplitBehavior::kRemoved});
  } else if (type == "BertPreTokenizer") {
    steps_.push_back(Split{kSpace, SplitBehavior::kRemoved});
    steps_.push_back(Split{kPunctuation, SplitBehavior::kIsolated});
  } else if (type == "CharDelimiterSplit") {
    steps_.push_back(Split{character_field(node, "delimiter", where), SplitBehavior::kRemoved});
  } else if (type == "FixedLength") {
    const nlohmann::json length = node.value("length", nlohmann::json(5u));
    if (!length.is_number_unsigned() || length == 0) {
      fail("{}: 'length' must be a positive integer, not {}", where, excerpt(length));
    }
    steps_.push_back(FixedLength{length.get<size_t>()});
  } else {
    return false;
  }
  return true;
}

void Pretokenizer::add_byte_level(const nlohmann::json& node, const std::string& where) {
  if (bool_field(node, "add_prefix_space", true, where)) steps_.push_back(PrefixSpace{});
  if (bool_field(node, "use_regex", true, where)) steps_.push_back(Split{Pattern::gpt2()});
  steps_.push_back(SpellBytes{});
}

void Pretokenizer::add_split(const nlohmann::json& node, const std::string& where) {
  const nlohmann::json& pattern = field(node, "pattern", where);
  Split split;
  split.behavior = split_behavior(node, std::nullopt, where);
  split.invert = bool_field(node, "invert", false, where);
  if (pattern.is_object() && pattern.contains("Regex")) {
    split.what = Pattern::read(string_field(pattern, "Regex", where), where);
  } else {
    const std::string text = string_field(pattern, "String", where);
    if (text.empty()) fail("{}: Split has an empty pattern", where);
    split.what = text;
  }
  steps_.push_back(std::move(split));
}

void Pretokenizer::add_metaspace(const nlohmann::json& node, const std::string& where) {
  Metaspace metaspace;
  metaspace.replacement = character_field(node, "replacement", where);
  // Files from before prepend_scheme say add_prefix_space.
  const bool prefix = bool_field(node, "add_prefix_space", true, where);
  const std::string scheme =
      optional_string(node, "prepend_scheme", where).value_or(prefix ? "always" : "never");
  using Prepend = Metaspace::Prepend;
  if (scheme != "always" && scheme != "first" && scheme != "never") {
    fail("{}: Metaspace has the unknown prepend_scheme '{}'", where, io::printable(scheme));
  }
  if (!prefix && scheme != "never") {
    fail("{}: Metaspace has add_prefix_space false, but the prepend_scheme '{}'", where, scheme);
  }
  metaspace.prepend = scheme == "always"  ? Prepend::kAlways
                      : scheme == "first" ? Prepend::kFirst
                                          : Prepend::kNever;
  const std::string replacement = metaspace.replacement;
  steps_.push_back(std::move(metaspace));
  if (bool_field(node, "split", true, where)) {
    steps_.push_back(Split{replacement, SplitBehavior::kMergedWithNext});
  }
}

}  // namespace tessera::launch
