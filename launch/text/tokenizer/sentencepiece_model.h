// A SentencePiece model file (tokenizer.model, spiece.model): the parts of its protocol buffer that
// decide how a text is cut. Any bytes give an Error or a model whose pieces are distinct, valid
// UTF-8 and of at most kLongestPiece bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tessera::launch {

// The numbers of both are those of the file.
enum class SentencePieceKind { kUnigram = 1, kBpe = 2, kWord = 3, kChar = 4 };
enum class PieceType {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

struct SentencePiece {
  std::string text;
  float score = 0;
  PieceType type = PieceType::kNormal;
};

struct SentencePieceModel {
  static constexpr size_t kLongestPiece = 1024;

  std::vector<SentencePiece> pieces;  // by id; exactly one is unknown
  SentencePieceKind kind = SentencePieceKind::kUnigram;
  // Ids, -1 for none, and what the file calls them.
  int32_t unk_id = 0, bos_id = 1, eos_id = 2, pad_id = -1;
  std::string unk_piece = "<unk>", bos_piece = "<s>", eos_piece = "</s>", pad_piece = "<pad>";
  bool byte_fallback = false;
  bool whitespace_as_suffix = false;
  // How a text is normalized.
  std::string charsmap;  // precompiled; empty for none
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
};

/// Error, beginning with `source`, for bytes that are no such model.
SentencePieceModel parse_sentencepiece_model(std::string_view bytes, const std::string& source);

/// Whether a file begins as such a model does, with a piece. No text file does.
bool is_sentencepiece_model(std::string_view bytes);

}  // namespace tessera::launch
