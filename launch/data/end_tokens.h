// The tokens that end an answer, as the files of a model name them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "launch/text/tokenizer/tokenizer.h"

namespace tessera::launch {

/// The tokenizer's end of text, and "eos_token_id" of generation_config.json and config.json where
/// `path` is a folder that has them. Each id once. Error naming the file when it holds anything
/// else.
std::vector<int32_t> end_tokens(const Tokenizer& tokenizer, const std::string& path);

}  // namespace tessera::launch
