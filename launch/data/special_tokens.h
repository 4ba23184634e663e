// The key special_tokens of a config against the tokenizer: other trainers set tokens by it, here
// it can only agree.
#pragma once

#include "launch/config/config.h"
#include "launch/text/tokenizer/tokenizer.h"

namespace tessera::launch {

/// Error (usage) that names each of the config's special_tokens which is not the tokenizer's.
void require_special_tokens(const Config& config, const Tokenizer& tokenizer);

}  // namespace tessera::launch
