// Byte pair encoding of one word at a time: the merge of lowest rank first, the leftmost of equal
// ones, by a heap, in O(n log n) for n bytes. Equal to the BPE model of the `tokenizers` package,
// so characters that no token covers are dropped where the model names no unknown token.
// Immutable; a Scratch belongs to one thread, which may use it for several models.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "launch/text/tokenizer/bpe_cache.h"
#include "launch/text/tokenizer/tokenizer.h"
#include "launch/text/tokenizer/tokenizer_text.h"
#include "launch/text/tokenizer/tokenizer_vocabulary.h"

namespace tessera::launch {

struct BpeOptions {
  bool byte_level = false;     // words are bytes; the vocabulary is spelt in stand-ins
  bool byte_fallback = false;  // unknown characters become tokens like <0x0A>
  bool fuse_unk = false;       // neighbouring unknown characters become one unknown token
  bool ignore_merges = false;  // a word that is a token is that token, whatever the merges say
  std::optional<std::string> unk_token;
  std::string prefix;  // before every character but the first of a word, as its token is spelt
  std::string suffix;  // after the last character of a word; both empty where words are bytes
};

class Bpe {
 public:
  struct Scratch {
    struct Symbol {
      int32_t id;
      int32_t begin;  // byte offset in the word
      int32_t previous, next;
      bool gone;
    };
    struct Candidate {
      uint32_t rank;
      int32_t position;
      int32_t id;
    };
    std::vector<Symbol> symbols;
    std::vector<Candidate> heap;
    std::vector<BpeCache::Token> tokens;
    std::string spelling;
    uint64_t pushes = 0;  // heap insertions so far: the measure of work
    BpeCache cache;
  };

  using Vocabulary = launch::Vocabulary;

  /// `vocabulary` maps to distinct ids; merges in order of rank. Error, beginning with `source`,
  /// when a merge names a token that does not exist or makes one, or the unknown token is missing.
  Bpe(Vocabulary vocabulary, const std::vector<std::pair<std::string, std::string>>& merges,
      BpeOptions options, const std::string& source);

  const BpeOptions& options() const { return options_; }
  const Vocabulary& vocabulary() const { return vocabulary_; }
  std::optional<int32_t> find(std::string_view token) const { return vocabulary_.find(token); }

  /// Appends the tokens of `word`, which is shorter than 2 GiB.
  void encode(AlignedView word, Scratch& scratch, Encoding& out) const;

 private:
  struct Merge {
    uint64_t pair = kEmpty;
    uint32_t rank = 0;
    int32_t id = 0;
  };
  static constexpr uint64_t kEmpty = ~uint64_t{0};

  void index_merges(const std::vector<std::pair<std::string, std::string>>& merges,
                    const std::string& source);
  size_t slot_of(uint64_t pair) const;
  const Merge* find_merge(int32_t left, int32_t right) const;
  /// The token that the whole word is.
  std::optional<int32_t> find_whole(std::string_view word, Scratch& scratch) const;
  void split_into_symbols(std::string_view word, Scratch& scratch) const;
  /// Spells the character of `word` at `at` as the vocabulary does, and finds its token.
  std::optional<int32_t> find_character(std::string_view word, size_t at, size_t length,
                                        Scratch& scratch) const;
  int32_t unknown(std::string_view character) const;
  void merge_symbols(Scratch& scratch) const;
  void push_candidate(Scratch& scratch, int32_t position) const;

  Vocabulary vocabulary_;
  BpeOptions options_;
  std::vector<Merge> merges_;  // open addressing; the size is a power of two
  std::array<std::optional<int32_t>, 256> byte_ids_;
  std::optional<int32_t> unk_id_;
  uint64_t cache_key_;  // what its words go by in a cache
};

}  // namespace tessera::launch
