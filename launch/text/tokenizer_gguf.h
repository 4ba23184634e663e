// A GGUF file's tokenizer as Hugging Face's two JSON files, so that there is one way to make one.
#pragma once

#include <string>

#include "launch/text/tokenizer_parts.h"

namespace tessera::launch {

/// Reads the metadata tokenizer.ggml.* and tokenizer.chat_template. Error when the model is not
/// "gpt2" (byte-level BPE) or its pre-tokenizer is not one of those known.
TokenizerJson read_gguf_tokenizer(const std::string& path);

}  // namespace tessera::launch
