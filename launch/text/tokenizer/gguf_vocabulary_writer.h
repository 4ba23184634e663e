// A model's tokenizer as GGUF metadata, tokenizer.ggml.*, as llama.cpp's converter writes it: the
// way back of gguf_vocabulary.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/io/gguf_writer.h"

namespace tessera::launch {

struct GgufVocabularyOptions {
  int64_t vocab = 0;           // rows of the model's embedding
  std::optional<int32_t> bos;  // that the model's config names, as the next
  std::vector<int32_t> eos_ids;
  std::string architecture;        // in GGUF
  std::optional<std::string> pre;  // tokenizer.ggml.pre; empty: by the tokenizer's expressions
};

/// Whether there are files of a tokenizer: `path` is a model's folder or a .gguf file.
bool has_tokenizer(const std::string& path);

/// Puts the tokenizer of a folder in Hugging Face layout, or that of a .gguf file as it is. Returns
/// what a user should know, a line each. Error naming what GGUF cannot say: a tokenizer of another
/// kind than byte-level BPE and SentencePiece's, words that are cut as none of llama.cpp's names
/// does, more tokens than the model has.
std::vector<std::string> put_gguf_vocabulary(const std::string& path,
                                             const GgufVocabularyOptions& options,
                                             io::GgufMetadata& metadata);

/// The pieces of some texts where the vocabulary in a GGUF file gives other ids than the tokenizer
/// of `path`, a line each. Reads no tensors.
std::vector<std::string> differences_in_gguf(const std::string& path, const std::string& gguf);

}  // namespace tessera::launch
