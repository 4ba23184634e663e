// The pre-tokenizers that GGUF files name, as llama.cpp knows them.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

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

/// The names whose words are cut by the same expressions, one after another, as by `steps`, the
/// "pre_tokenizer" of a tokenizer.json; those whose other habits are `like`'s first. None where no
/// name has them.
std::vector<std::string> gguf_pretokenizer_names(const nlohmann::json& steps,
                                                 const GgufPretokenizer& like);

}  // namespace tessera::launch
