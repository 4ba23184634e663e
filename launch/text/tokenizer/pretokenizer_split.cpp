#include "launch/text/tokenizer/pretokenizer_split.h"

#include <algorithm>

#include "launch/text/tokenizer/tokenizer_fields.h"
#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

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

std::optional<std::pair<size_t, size_t>> find_word(std::string_view text, size_t from) {
  enum class Kind { kSpace, kWord, kOther };
  const auto kind_at = [&](size_t at) {
    const char32_t point = utf8_at(text, at);
    return is_white_space(point) ? Kind::kSpace : is_word_point(point) ? Kind::kWord : Kind::kOther;
  };
  while (from < text.size() && kind_at(from) == Kind::kSpace) from += utf8_length(text[from]);
  if (from == text.size()) return std::nullopt;
  size_t end = from;
  while (end < text.size() && kind_at(end) == kind_at(from)) end += utf8_length(text[end]);
  return std::pair(from, end);
}

SplitBehavior split_behavior(const nlohmann::json& node, std::optional<SplitBehavior> otherwise,
                             const std::string& where) {
  if (otherwise && !optional_string(node, "behavior", where)) return *otherwise;
  const std::string name = string_field(node, "behavior", where);
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  fail("{}: Split has the unknown behavior '{}'", where, io::printable(name));
}

std::vector<Stretch> join_stretches(std::vector<Stretch> stretches, SplitBehavior behavior) {
  switch (behavior) {
    case SplitBehavior::kMergedWithPrevious:
      return merge_with_previous(stretches);
    case SplitBehavior::kMergedWithNext:
      return merge_with_next(stretches);
    case SplitBehavior::kContiguous:
      return merge_runs(stretches);
    case SplitBehavior::kIsolated:
    case SplitBehavior::kRemoved:
      return stretches;
  }
  TESSERA_CHECK(false);
}

}  // namespace tessera::launch
