#include "launch/text/tokenizer/vocabulary_merges.h"

#include <algorithm>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "launch/text/tokenizer/tokenizer_text.h"

namespace tessera::launch {
namespace {

struct Merge {
  size_t token;  // of the tokens, the one it makes
  size_t left_size;
  size_t left, right;
};

}  // namespace

nlohmann::json merges_of_vocabulary(std::span<const RankedToken> tokens, MergeTies ties) {
  std::unordered_map<std::string_view, size_t> index;
  index.reserve(tokens.size());
  for (size_t i = 0; i < tokens.size(); ++i) index.emplace(tokens[i].text, i);

  std::vector<Merge> merges;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const std::string_view text = tokens[i].text;
    for (size_t cut = utf8_length(text[0]); cut < text.size(); cut += utf8_length(text[cut])) {
      const auto left = index.find(text.substr(0, cut));
      if (left == index.end()) continue;
      const auto right = index.find(text.substr(cut));
      if (right == index.end()) continue;
      merges.push_back({i, cut, left->second, right->second});
    }
  }
  const auto order = [&](const Merge& merge) {
    const RankedToken& made = tokens[merge.token];
    const bool by_ids = ties == MergeTies::kLowerIds;
    return std::tuple(made.rank, made.id, by_ids ? tokens[merge.left].id : int64_t(merge.left_size),
                      tokens[merge.right].id);
  };
  std::sort(merges.begin(), merges.end(),
            [&](const Merge& a, const Merge& b) { return order(a) < order(b); });

  nlohmann::json out = nlohmann::json::array();
  for (const Merge& merge : merges) {
    out.push_back({tokens[merge.left].text, tokens[merge.right].text});
  }
  return out;
}

}  // namespace tessera::launch
