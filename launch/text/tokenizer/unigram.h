// The Unigram model: of all ways to cut a word into tokens, the one with the highest sum of scores.
// Equal to the Unigram model of the `tokenizers` package, ties and unknown characters included.
// Immutable; a Scratch belongs to one thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "launch/text/tokenizer/tokenizer.h"
#include "launch/text/tokenizer/tokenizer_text.h"
#include "launch/text/tokenizer/tokenizer_trie.h"
#include "launch/text/tokenizer/tokenizer_vocabulary.h"

namespace tessera::launch {

class Unigram {
 public:
  /// The best way to cut the text up to one place.
  struct Best {
    double score = 0;
    int32_t from = -1;  // where its last token begins; -1 before any is known
    int32_t id = 0;
  };
  struct Scratch {
    std::vector<Best> best;
    std::vector<int32_t> ends;  // of the tokens, the last first
  };

  static constexpr size_t kLongest = 4096;         // bytes of a token
  static constexpr size_t kMostBytes = 32u << 20;  // of all tokens

  /// Tokens and scores, in the order of their ids. Error, beginning with `source`, when a token or
  /// all of them are too long, or `unk_id` is none of theirs.
  Unigram(std::vector<std::pair<std::string, double>> pieces, std::optional<int32_t> unk_id,
          bool byte_fallback, const std::string& source);

  /// Of a token listed twice the later id holds.
  const Vocabulary& vocabulary() const { return vocabulary_; }
  const std::vector<std::pair<std::string, double>>& pieces() const { return pieces_; }

  /// Appends the tokens of `word`, which is shorter than 2 GiB.
  void encode(AlignedView word, Scratch& scratch, Encoding& out) const;

 private:
  void find_best(std::string_view word, std::vector<Best>& best) const;
  void append_unknown(AlignedView part, Encoding& out) const;
  int32_t unknown() const;

  std::vector<std::pair<std::string, double>> pieces_;
  Vocabulary vocabulary_;
  TokenTrie trie_;
  std::optional<int32_t> unk_id_;
  bool byte_fallback_;
  double unk_score_ = 0;
};

}  // namespace tessera::launch
