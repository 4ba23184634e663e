#include "launch/text/pretokenizer.h"

#include <algorithm>

#include "launch/text/tokenizer_fields.h"
#include "launch/text/tokenizer_normalizer.h"
#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

struct Stretch {
  size_t begin, end;
  bool matches;
};

/// The whole text as stretches that match or do not, in order.
template <class Find>
std::vector<Stretch> stretches(size_t size, bool invert, Find find) {
  std::vector<Stretch> out;
  size_t at = 0;
  while (at < size) {
    const auto match = find(at);
    const size_t begin = match ? match->first : size;
    if (begin > at) out.push_back({at, begin, invert});
    if (!match) break;
    out.push_back({begin, match->second, !invert});
    at = match->second;
  }
  return out;
}

std::optional<std::pair<size_t, size_t>> find_text(std::string_view text, const std::string& what,
                                                   size_t from) {
  const size_t found = text.find(what, from);
  if (found == std::string_view::npos) return std::nullopt;
  return std::pair(found, found + what.size());
}

/// A match joins the stretch before it, unless that is a match too.
std::vector<Stretch> merge_with_previous(const std::vector<Stretch>& in) {
  std::vector<Stretch> out;
  bool after_match = false;
  for (const Stretch& stretch : in) {
    if (stretch.matches && !after_match && !out.empty()) {
      out.back().end = stretch.end;
    } else {
      out.push_back(stretch);
    }
    after_match = stretch.matches;
  }
  return out;
}

std::vector<Stretch> merge_with_next(const std::vector<Stretch>& in) {
  std::vector<Stretch> out;
  bool before_match = false;
  for (auto stretch = in.rbegin(); stretch != in.rend(); ++stretch) {
    if (stretch->matches && !before_match && !out.empty()) {
      out.back().begin = stretch->begin;
    } else {
      out.push_back(*stretch);
    }
    before_match = stretch->matches;
  }
  std::reverse(out.begin(), out.end());
  return out;
}

std::vector<Stretch> merge_runs(const std::vector<Stretch>& in) {
  std::vector<Stretch> out;
  for (const Stretch& stretch : in) {
    if (!out.empty() && out.back().matches == stretch.matches) {
      out.back().end = stretch.end;
    } else {
      out.push_back(stretch);
    }
  }
  return out;
}

}  // namespace

Pretokenizer::Pretokenizer(const nlohmann::json& node, const std::string& source) {
  if (!node.is_null()) add(node, source + ": pre_tokenizer");
}

void Pretokenizer::split(AlignedView text, Words& words) const {
  words.views.assign(1, text);
  std::vector<AlignedView> before;
  for (const Step& step : steps_) {
    before.swap(words.views);
    words.views.clear();
    for (const AlignedView& part : before) {
      std::visit([&](const auto& kind) { apply(kind, part, words); }, step);
    }
  }
}

void Pretokenizer::apply(const Split& split, AlignedView text, Words& words) {
  std::vector<Stretch> parts = stretches(text.text.size(), split.invert, [&](size_t from) {
    const auto* plain = std::get_if<std::string>(&split.what);
    return plain ? find_text(text.text, *plain, from)
                 : std::get<Pattern>(split.what).find(text.text, from);
  });
  if (split.behavior == Behavior::kMergedWithPrevious) parts = merge_with_previous(parts);
  if (split.behavior == Behavior::kMergedWithNext) parts = merge_with_next(parts);
  if (split.behavior == Behavior::kContiguous) parts = merge_runs(parts);
  for (const Stretch& part : parts) {
    if (part.matches && split.behavior == Behavior::kRemoved) continue;
    words.views.push_back(text.part(part.begin, part.end));
  }
}

void Pretokenizer::apply(const PrefixSpace&, AlignedView text, Words& words) {
  if (text.text.starts_with(' ')) {
    words.views.push_back(text);
    return;
  }
  AlignedText& spaced = words.owned.emplace_back();
  spaced.append(" ", text.origin[0]);
  spaced.append(text);
  words.views.push_back(spaced.view());
}

void Pretokenizer::apply(const Metaspace& metaspace, AlignedView text, Words& words) {
  AlignedText& replaced = words.owned.emplace_back();
  using Prepend = Metaspace::Prepend;
  const bool prepend = !text.text.starts_with(' ') &&
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
  if (byte_level_) fail("{}: '{}' after ByteLevel is not supported", where, io::printable(type));
  if (type == "Sequence") {
    for (const auto& part : array_field(node, "pretokenizers", where)) add(part, where);
  } else if (type == "Split") {
    add_split(node, where);
  } else if (type == "Digits") {
    const bool individual = bool_field(node, "individual_digits", false, where);
    steps_.push_back(Split{Pattern::known(R"(\p{N})", where),
                           individual ? Behavior::kIsolated : Behavior::kContiguous});
  } else if (type == "ByteLevel") {
    if (bool_field(node, "add_prefix_space", true, where)) steps_.push_back(PrefixSpace{});
    if (bool_field(node, "use_regex", true, where)) steps_.push_back(Split{Pattern::gpt2()});
    byte_level_ = true;
  } else if (type == "Metaspace") {
    add_metaspace(node, where);
  } else {
    fail(
        "{}: '{}' is not supported; supported are Split, Digits, ByteLevel, Metaspace and "
        "Sequence",
        where, io::printable(type));
  }
}

void Pretokenizer::add_split(const nlohmann::json& node, const std::string& where) {
  const nlohmann::json& pattern = field(node, "pattern", where);
  const std::string behavior = string_field(node, "behavior", where);
  Split split;
  split.invert = bool_field(node, "invert", false, where);
  if (pattern.is_object() && pattern.contains("Regex")) {
    split.what = Pattern::known(string_field(pattern, "Regex", where), where);
  } else {
    const std::string text = string_field(pattern, "String", where);
    if (text.empty()) fail("{}: Split has an empty pattern", where);
    split.what = text;
  }
  if (behavior == "Isolated") {
    split.behavior = Behavior::kIsolated;
  } else if (behavior == "Removed") {
    split.behavior = Behavior::kRemoved;
  } else if (behavior == "MergedWithPrevious") {
    split.behavior = Behavior::kMergedWithPrevious;
  } else if (behavior == "MergedWithNext") {
    split.behavior = Behavior::kMergedWithNext;
  } else if (behavior == "Contiguous") {
    split.behavior = Behavior::kContiguous;
  } else {
    fail("{}: Split has the unknown behavior '{}'", where, io::printable(behavior));
  }
  steps_.push_back(std::move(split));
}

void Pretokenizer::add_metaspace(const nlohmann::json& node, const std::string& where) {
  Metaspace metaspace;
  metaspace.replacement = string_field(node, "replacement", where);
  if (metaspace.replacement.empty()) fail("{}: Metaspace has an empty replacement", where);
  // Files from before prepend_scheme say add_prefix_space.
  const bool prefix = bool_field(node, "add_prefix_space", true, where);
  const std::string scheme =
      optional_string(node, "prepend_scheme", where).value_or(prefix ? "always" : "never");
  using Prepend = Metaspace::Prepend;
  if (scheme != "always" && scheme != "first" && scheme != "never") {
    fail("{}: Metaspace has the unknown prepend_scheme '{}'", where, io::printable(scheme));
  }
  metaspace.prepend = scheme == "always"  ? Prepend::kAlways
                      : scheme == "first" ? Prepend::kFirst
                                          : Prepend::kNever;
  const std::string replacement = metaspace.replacement;
  steps_.push_back(std::move(metaspace));
  if (bool_field(node, "split", true, where)) {
    steps_.push_back(Split{replacement, Behavior::kMergedWithNext});
  }
}

}  // namespace tessera::launch
