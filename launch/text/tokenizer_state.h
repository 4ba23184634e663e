// What copies of a Tokenizer share.
#pragma once

#include <string>

#include "launch/text/tokenizer.h"
#include "launch/text/tokenizer_parts.h"

namespace tessera::launch {

struct Tokenizer::State {
  State(TokenizerParts made, std::string from) : parts(std::move(made)), path(std::move(from)) {}

  TokenizerParts parts;
  std::string path;  // where files() reads again
};

}  // namespace tessera::launch
