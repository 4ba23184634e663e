// Finds the strings of a fixed set that a text begins with, byte by byte.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace tessera::launch {

class TokenTrie {
 public:
  /// Strings and their values; none is empty, and no two are equal.
  explicit TokenTrie(std::vector<std::pair<std::string_view, int32_t>> strings);

  /// Calls visit(length, value) for every string that `text` begins with, the shortest first.
  template <class Visit>
  void find_prefixes(std::string_view text, Visit visit) const {
    size_t node = 0;
    for (size_t i = 0; i < text.size(); ++i) {
      node = child_of(node, static_cast<unsigned char>(text[i]));
      if (node == 0) return;
      if (nodes_[node].value >= 0) visit(i + 1, nodes_[node].value);
    }
  }

 private:
  /// The children of a node stand side by side, in the order of their bytes.
  struct Node {
    std::array<uint64_t, 4> bytes{};  // a bit for each byte that a child has
    int32_t first_child = 0;
    int32_t value = -1;
  };

  /// 0, which is the root, where there is none.
  size_t child_of(size_t node, unsigned byte) const {
    const Node& parent = nodes_[node];
    const unsigned word = byte / 64;
    if ((parent.bytes[word] >> byte % 64 & 1) == 0) return 0;
    const uint64_t before = (uint64_t{1} << byte % 64) - 1;
    int rank = std::popcount(parent.bytes[word] & before);
    for (unsigned i = 0; i < word; ++i) rank += std::popcount(parent.bytes[i]);
    return size_t(parent.first_child + rank);
  }

  std::vector<Node> nodes_;
};

}  // namespace tessera::launch
