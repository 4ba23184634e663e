// The vocabulary in a GGUF file's metadata, as the parts of a tokenizer.json.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "runtime/io/gguf.h"

namespace tessera::launch {

struct GgufVocabulary {
  nlohmann::json parts;             // all but what is put around a text
  std::vector<std::string> tokens;  // by id
  // What holds where the file does not say: ids of tokens and what is put around a text.
  std::optional<int64_t> bos, eos, unk, pad;
  bool adds_bos = false;
  bool adds_eos = false;
  std::vector<std::string> notes;  // what a user should know of tokens that were left out
};

/// By tokenizer.ggml.model: gpt2 (byte-level BPE), llama (SentencePiece's BPE), t5 (its Unigram) or
/// gemma4. Error naming the file and the key for another model and for damaged metadata.
GgufVocabulary read_gguf_vocabulary(const io::GgufFile& file);

}  // namespace tessera::launch
