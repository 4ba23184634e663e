// Text to token ids: added tokens, normalization, words, the model.
#pragma once

#include <span>

#include "launch/text/tokenizer/tokenizer.h"
#include "launch/text/tokenizer/tokenizer_parts.h"

namespace tessera::launch {

/// As Tokenizer::encode. Error when a piece is not valid UTF-8, or all together are too long.
Encoding encode_pieces(const TokenizerParts& parts, std::span<const TextPiece> pieces);

}  // namespace tessera::launch
