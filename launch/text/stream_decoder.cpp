#include "launch/text/stream_decoder.h"

#include "launch/text/tokenizer_state.h"
#include "runtime/core/error.h"

namespace tessera::launch {

std::string StreamDecoder::push(int32_t id) {
  const TokenizerParts& parts = tokenizer_.state_->parts;
  const std::string& token = tokenizer_.token(id);
  if (token.empty()) fail("{}: no token has the id {}", tokenizer_.state_->path, id);
  std::string text;
  if (!parts.special[size_t(id)]) parts.decoder.push(token, decoding_, text);
  return text;
}

std::string StreamDecoder::finish() {
  std::string text;
  tokenizer_.state_->parts.decoder.finish(decoding_, text);
  return text;
}

}  // namespace tessera::launch
