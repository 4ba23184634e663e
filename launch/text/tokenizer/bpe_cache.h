// The tokens of short words that a thread met before: a text repeats most of its words. Of two
// words that share a slot the newer one stays.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "launch/text/tokenizer/tokenizer.h"
#include "launch/text/tokenizer/tokenizer_text.h"

namespace tessera::launch {

class BpeCache {
 public:
  struct Token {
    int32_t id;
    int32_t begin;  // byte offset in the word
  };

  /// `key` tells models apart. Appends the tokens of `word` and returns true when it is known.
  bool take(uint64_t key, AlignedView word, Encoding& out) const;
  /// Keeps what `word` became, if both are short.
  void keep(uint64_t key, std::string_view word, const std::vector<Token>& tokens);

 private:
  static constexpr size_t kLongestWord = 24;
  static constexpr size_t kMostTokens = 8;
  static constexpr size_t kSlots = size_t{1} << 14;

  struct Slot {
    uint64_t key = 0;
    uint8_t length = 0;  // of the word; an empty slot has 0
    uint8_t count = 0;
    std::array<char, kLongestWord> word{};
    std::array<uint8_t, kMostTokens> begins{};
    std::array<int32_t, kMostTokens> ids{};
  };

  static size_t slot_of(std::string_view word);

  std::vector<Slot> slots_;  // empty until a word is kept
};

}  // namespace tessera::launch
