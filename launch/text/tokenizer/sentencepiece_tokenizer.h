// A SentencePiece model as a tokenizer.json that gives SentencePiece's own ids, and the parts that
// tokenizers with habits of their own share with it.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>

#include "launch/text/tokenizer/sentencepiece_model.h"

namespace tessera::launch {

/// How SentencePiece writes a space.
inline constexpr std::string_view kPieceSpace = "\u2581";

struct SentencePieceRules {
  /// Each text between added tokens begins with a prefix of its own; else only the first does.
  bool prefix_everywhere = true;
  /// Pieces that the user defined are kept whole wherever they stand in the normalized text; else
  /// they are added tokens.
  bool user_pieces_in_words = true;
};

/// By the settings of the model, which is of the kind UNIGRAM or BPE, and nothing else. What is put
/// around a text is left open.
nlohmann::json plain_sentencepiece_tokenizer(const SentencePieceModel& model,
                                             SentencePieceRules rules);

/// Pieces and ids: "vocab" of a BPE model.
nlohmann::json piece_ids(const SentencePieceModel& model);
nlohmann::json unigram_model(const SentencePieceModel& model, size_t unk_id, bool byte_fallback);
/// The normalizer that the model was compiled with.
nlohmann::json charsmap_step(const SentencePieceModel& model);
/// As a pre-tokenizer or decoder.
nlohmann::json metaspace_step(const char* scheme, bool split);
/// Makes pieces a text again: `prefix` takes one space off its front.
nlohmann::json piece_decoder(bool byte_fallback, bool prefix);

}  // namespace tessera::launch
