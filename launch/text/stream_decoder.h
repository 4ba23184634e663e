// Text from tokens that arrive one by one, for `generate` and `chat`.
// What push() returns is always whole code points; all of it and finish() together equal
// Tokenizer::decode(ids, /*skip_special=*/true).
#pragma once

#include <cstdint>
#include <string>

#include "launch/text/tokenizer.h"
#include "launch/text/tokenizer_decoder.h"

namespace tessera::launch {

class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  /// The text that is certain after this token; empty while a code point is incomplete.
  std::string push(int32_t id);
  /// The rest; the decoder then starts a new text.
  std::string finish();

 private:
  Tokenizer tokenizer_;
  TokenDecoder::State decoding_;
};

}  // namespace tessera::launch
