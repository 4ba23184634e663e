#include "launch/text/tokenizer/tokenizer_trie.h"

#include <algorithm>

namespace tessera::launch {

TokenTrie::TokenTrie(std::vector<std::pair<std::string_view, int32_t>> strings) {
  std::sort(strings.begin(), strings.end());
  // Of each node that waits for its children: the strings that go through it.
  struct Range {
    size_t begin, end;
  };
  std::vector<Range> level = {{0, strings.size()}};
  nodes_.resize(1);
  size_t node = 0;
  for (size_t depth = 0; !level.empty(); ++depth) {
    std::vector<Range> next;
    for (const Range& range : level) {
      nodes_[node].first_child = int32_t(nodes_.size());
      for (size_t i = range.begin; i < range.end;) {
        if (strings[i].first.size() == depth) {  // it sorts before those it is a prefix of
          nodes_[node].value = strings[i++].second;
          continue;
        }
        const char byte = strings[i].first[depth];
        const size_t begin = i;
        while (i < range.end && strings[i].first[depth] == byte) ++i;
        nodes_[node].bytes[uint8_t(byte) / 64] |= uint64_t{1} << uint8_t(byte) % 64;
        nodes_.emplace_back();
        next.push_back({begin, i});
      }
      ++node;
    }
    level = std::move(next);
  }
}

}  // namespace tessera::launch
