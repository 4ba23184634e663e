// Mistral's tekken.json: the bytes of tokens by rank, after special tokens, which come first.
#pragma once

#include <nlohmann/json.hpp>

#include "launch/text/tokenizer/tokenizer_parts.h"

namespace tessera::launch {

/// Fills the tokenizer of `out`, whose sources and config are read, as mistral-common and
/// transformers 5 read `tekken`. Error, beginning with the tokenizer's source, naming what in it is
/// damaged.
void take_tekken(const nlohmann::json& tekken, TokenizerJson& out);

}  // namespace tessera::launch
