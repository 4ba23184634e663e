// SentencePiece's precompiled map of character sequences to their normal forms: a double-array trie
// and the forms. Equal to the normalizer Precompiled of the `tokenizers` package.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "launch/text/tokenizer/tokenizer_text.h"

namespace tessera::launch {

class Charsmap {
 public:
  /// `blob` as the model file has it: the trie's size in bytes, the trie, the forms, each ended by
  /// a zero byte. Error, beginning with `where`, when it is damaged.
  Charsmap(std::string_view blob, const std::string& where);

  AlignedText normalize(AlignedView text) const;

 private:
  /// The form of the shortest sequence that `text` begins with.
  std::optional<std::string_view> find(std::string_view text) const;
  void append_character(AlignedView character, AlignedText& out) const;

  std::vector<uint32_t> trie_;
  std::string forms_;
  std::string where_;
  std::array<bool, 128> changes_;  // whether an ASCII character has a form
};

}  // namespace tessera::launch
