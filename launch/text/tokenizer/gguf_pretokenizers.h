// The pre-tokenizers that GGUF files name, as llama.cpp knows them.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace tessera::launch {

struct GgufPretokenizer {
  nlohmann::json steps;  // "pre_tokenizer" of a tokenizer.json
  bool nfc = false;
  bool ignore_merges = false;
  bool adds_bos = false;  // unless the file says otherwise
};

/// What `name`, the value of tokenizer.ggml.pre, stands for. Error, beginning with `path`, for one
/// that is not supported.
GgufPretokenizer gguf_pretokenizer(const std::string& name, const std::string& path);

}  // namespace tessera::launch
