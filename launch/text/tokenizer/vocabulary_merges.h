// The merges of byte pair encoding, for vocabularies that store only their tokens and in which
// order these were made: a merge is any two tokens that make a third.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

namespace tessera::launch {

/// A token of the vocabulary: valid UTF-8.
struct RankedToken {
  std::string text;
  int64_t id = 0;
  double rank = 0;  // a lower one is made first
};

/// Which merge is first of those that make one token.
enum class MergeTies {
  kShorterLeft,  // as SentencePiece's are recovered
  kLowerIds,     // as tiktoken's are
};

/// "merges" of a tokenizer.json: pairs in order of rank, then of the id they make. The texts are
/// distinct; time and memory grow with the sum of their lengths and, for each, its square.
nlohmann::json merges_of_vocabulary(std::span<const RankedToken> tokens, MergeTies ties);

}  // namespace tessera::launch
