// Byte pair encoding of one word at a time: the merge of lowest rank first, the leftmost of equal
// ones, by a heap, in O(n log n) for n bytes. Equal to the BPE model of the `tokenizers` package,
// so characters that no token covers are dropped where the model names no unknown token.
// Immutable; a Scratch belongs to one thread.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "launch/text/tokenizer.h"
#include "launch/text/tokenizer_text.h"

namespace tessera::launch {

/// GPT-2's printable stand-in for a byte, as UTF-8: what byte-level vocabularies are spelt in.
const std::string& byte_stand_in(uint8_t byte);
/// The byte a stand-in stands for.
std::optional<uint8_t> byte_of_stand_in(char32_t point);

struct BpeOptions {
  bool byte_level = false;     // words are bytes; the vocabulary is spelt in stand-ins
  bool byte_fallback = false;  // unknown characters become tokens like <0x0A>
  bool fuse_unk = false;       // neighbouring unknown characters become one unknown token
  bool ignore_merges = false;  // a word that is a token is that token, whatever the merges say
  std::optional<std::string> unk_token;
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
    std::string spelling;
    uint64_t pushes = 0;  // heap insertions so far: the measure of work
  };

  using Vocabulary = std::unordered_map<std::string, int32_t>;

  /// `vocabulary` maps to distinct ids; merges in order of rank. Error, beginning with `source`,
  /// when a merge names a token that does not exist or makes one, or the unknown token is missing.
  Bpe(Vocabulary vocabulary, const std::vector<std::pair<std::string, std::string>>& merges,
      BpeOptions options, const std::string& source);

  const BpeOptions& options() const { return options_; }
  const Vocabulary& vocabulary() const { return vocabulary_; }
  std::optional<int32_t> find(const std::string& token) const;

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
  void split_into_symbols(std::string_view word, Scratch& scratch) const;
  void merge_symbols(Scratch& scratch) const;
  void push_candidate(Scratch& scratch, int32_t position) const;

  Vocabulary vocabulary_;
  BpeOptions options_;
  std::vector<Merge> merges_;  // open addressing; the size is a power of two
  std::array<std::optional<int32_t>, 256> byte_ids_;
  std::optional<int32_t> unk_id_;
};

}  // namespace tessera::launch
