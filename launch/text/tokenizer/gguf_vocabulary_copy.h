// The tokenizer in one GGUF file's metadata, for another.
#pragma once

#include <optional>
#include <string>

#include "runtime/io/gguf.h"
#include "runtime/io/gguf_writer.h"

namespace tessera::launch {

/// Puts every key that begins with "tokenizer." and that llama.cpp knows, as it is; `pre`, where
/// given, in place of tokenizer.ggml.pre.
void copy_gguf_vocabulary(const io::GgufFile& file, const std::optional<std::string>& pre,
                          io::GgufMetadata& metadata);

}  // namespace tessera::launch
