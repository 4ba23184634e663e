// Finds added tokens (<|im_end|> and the like) in a text: at each place the longest, from left to
// right; one that is marked special never where it touches literal text, so that what a user wrote
// cannot pass for markup. Options as in the `tokenizers` package.
#pragma once

#include <bitset>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tessera::launch {

struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool single_word = false;  // only where no word character is beside it
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // takes the white space after it
  bool normalized = false;   // looked for after normalization
  bool special = false;      // left out by decode(skip_special)
};

class AddedTokenMatcher {
 public:
  static constexpr size_t kLongest = 1024;  // bytes of a token: bounds the search at one place

  struct Part {
    int32_t id;  // -1 for text between tokens
    size_t begin, end;
  };

  AddedTokenMatcher() = default;
  /// Error, beginning with `source`, for a content that is empty or longer than kLongest.
  AddedTokenMatcher(const std::vector<AddedToken>& tokens, const std::string& source);

  bool empty() const { return tokens_.empty(); }
  /// The text as tokens and what lies between them. `literal` says of each byte whether it is
  /// literal; empty when none is. Special tokens that it kept from being one go to `spelled_out`.
  std::vector<Part> split(std::string_view text, std::span<const uint8_t> literal,
                          std::vector<int32_t>& spelled_out) const;

 private:
  struct Node {
    std::vector<std::pair<char, int32_t>> children;  // in the order of their characters
    int32_t token = -1;                              // index in tokens_
  };
  int32_t child_of(int32_t node, char c) const;
  /// Of the tokens that begin at a place, the longest that may be one and the longest that may not.
  struct Found {
    int32_t token = -1;  // index in tokens_
    int32_t barred = -1;
  };
  Found longest_at(std::string_view text, size_t at, std::span<const uint8_t> literal) const;

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_;
  std::bitset<256> firsts_;
};

}  // namespace tessera::launch
