// A SentencePiece model as transformers 5 reads it: by the model's own settings, or by the habits
// of a class that has some.
#pragma once

#include <string>

#include "launch/text/tokenizer/sentencepiece_model.h"
#include "launch/text/tokenizer/tokenizer_parts.h"

namespace tessera::launch {

/// Fills the tokenizer of `out`, whose sources and config are read; `class_name` is of
/// tokenizer_class_of(). The config then names the class, and which tokens are bos_token and the
/// like where it did not. Error, beginning with the tokenizer's source, for a kind of model or a
/// class that is not supported.
void take_sentencepiece(SentencePieceModel model, const std::string& class_name,
                        TokenizerJson& out);

}  // namespace tessera::launch
