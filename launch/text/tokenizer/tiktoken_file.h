// tiktoken's files: a line for each token, its bytes in base64 and its rank. They say neither how
// words are cut nor which tokens are special; both are known for published files only.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "launch/text/tokenizer/tokenizer_parts.h"

namespace tessera::launch {

/// Tokens by rank; a rank that the file leaves out is empty. Error, beginning with `source`, for
/// anything else than such lines.
std::vector<std::string> parse_tiktoken(std::string_view content, const std::string& source);

/// Fills the tokenizer of `out`, whose sources and config are read; `class_name` is of
/// tokenizer_class_of(). Known are OpenAI's r50k, p50k, cl100k and o200k, Qwen's first and Llama
/// 3's by their sizes. Another file is read as transformers 5 reads it where the config names one
/// of its classes and the special tokens, else it is an Error.
void take_tiktoken(std::string_view content, const std::string& class_name, TokenizerJson& out);

}  // namespace tessera::launch
