// A text as stretches that match something or do not, and what becomes of the matches.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "launch/text/tokenizer/tokenizer_text.h"

namespace tessera::launch {

/// Begin and end of the first match at or after `from`, which is at most the size of the text.
using FindMatch = std::optional<std::pair<size_t, size_t>> (*)(std::string_view text, size_t from);

template <bool (*is_member)(char32_t)>
std::optional<std::pair<size_t, size_t>> find_point(std::string_view text, size_t from) {
  for (size_t length = 0; from < text.size(); from += length) {
    length = utf8_length(text[from]);
    if (is_member(utf8_at(text, from))) return std::pair(from, from + length);
  }
  return std::nullopt;
}

/// A run of `\w`, or of what is neither that nor white space.
std::optional<std::pair<size_t, size_t>> find_word(std::string_view text, size_t from);

enum class SplitBehavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };

/// The member "behavior" of `node`, which may be absent if there is an `otherwise`.
SplitBehavior split_behavior(const nlohmann::json& node, std::optional<SplitBehavior> otherwise,
                             const std::string& where);

struct Stretch {
  size_t begin, end;
  bool matches;
};

/// The whole text as stretches in order. Those that match nothing may be empty. `find` is as
/// FindMatch without its text. An empty match right behind another match does not count.
template <class Find>
std::vector<Stretch> find_stretches(std::string_view text, bool invert, Find find) {
  std::vector<Stretch> out;
  size_t done = 0;
  std::optional<size_t> last_end;
  for (size_t from = 0; from <= text.size();) {
    const auto match = find(from);
    if (!match) break;
    const auto [begin, end] = *match;
    if (begin == end && last_end == end) {
      from += from < text.size() ? utf8_length(text[from]) : 1;
      continue;
    }
    if (begin > done) out.push_back({done, begin, invert});
    out.push_back({begin, end, !invert});
    from = done = end;
    last_end = end;
  }
  if (done < text.size()) out.push_back({done, text.size(), invert});
  return out;
}

/// Joins the stretches as `behavior` has it; those to be removed stay.
std::vector<Stretch> join_stretches(std::vector<Stretch> stretches, SplitBehavior behavior);

}  // namespace tessera::launch
