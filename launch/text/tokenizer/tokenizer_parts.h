// What a Tokenizer is made of, and the making of it: a folder's files or a GGUF file's metadata
// become Hugging Face's two JSON files (TokenizerJson), and these the parts.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "launch/text/tokenizer/pretokenizer.h"
#include "launch/text/tokenizer/tokenizer_added_tokens.h"
#include "launch/text/tokenizer/tokenizer_decoder.h"
#include "launch/text/tokenizer/tokenizer_model.h"
#include "launch/text/tokenizer/tokenizer_normalizer.h"

namespace tessera::launch {

struct TokenizerParts {
  Normalizer normalizer;
  Pretokenizer pretokenizer;
  TokenModel model;
  TokenDecoder decoder;
  AddedTokenMatcher raw_tokens;         // looked for in the text as it is
  AddedTokenMatcher normalized_tokens;  // looked for after normalization
  std::vector<std::string> tokens;      // by id; empty where there is none
  std::vector<uint8_t> special;         // by id
  std::vector<uint8_t> left_out;        // by id: whether decoding without special tokens skips it
  std::unordered_map<std::string, int32_t> added_ids;
  /// By id: added tokens that a text has in another spelling, since they are looked for after
  /// normalization.
  std::unordered_map<int32_t, std::string> normalized_spellings;
  std::optional<int32_t> bos, eos, pad;
  std::vector<int32_t> prefix, suffix;  // what is put around a text that is encoded alone
  std::map<std::string, std::string> chat_templates;  // by name
  std::map<std::string, std::string> named_tokens;    // texts, by names such as "bos_token"
  std::vector<std::string> notes;                     // what a user should know of what was read

  bool adds_bos() const { return !prefix.empty() && bos == prefix.front(); }
  /// The token as decoding takes it.
  const std::string& spelling(int32_t id) const {
    const auto found = normalized_spellings.find(id);
    return found == normalized_spellings.end() ? tokens[size_t(id)] : found->second;
  }
};

/// The JSON a tokenizer comes as, and how errors call it.
struct TokenizerJson {
  nlohmann::json tokenizer;  // tokenizer.json
  std::string tokenizer_source;
  nlohmann::json config = nlohmann::json::object();  // tokenizer_config.json
  std::string config_source;
  /// Keys of `config` that special_tokens_map.json gave, and how errors call that file.
  std::set<std::string, std::less<>> mapped = {};
  std::string map_source = {};
  nlohmann::json added_tokens = nullptr;  // added_tokens.json, where it holds
  std::string added_tokens_source = {};
  /// The end of text as the model's own files have it, for a tokenizer that names none.
  std::optional<int32_t> model_eos = {};
  std::string model_eos_source = {};
  std::vector<std::string> notes = {};  // what a user should know of how it was made
  TokenizerFiles files = {};            // to put beside an adapter

  const std::string& source_of(std::string_view key) const {
    return mapped.contains(key) ? map_source : config_source;
  }
};

/// A folder in Hugging Face layout, each of its files read once: a tokenizer.json, or what stands
/// in for it: a SentencePiece, tiktoken or Tekken file. special_tokens_map.json and
/// added_tokens.json hold where transformers reads them: without `added_tokens_decoder`.
TokenizerJson read_tokenizer_folder(const std::string& path);

/// Reads the metadata tokenizer.ggml.* and tokenizer.chat_template. Error when the model is none of
/// those known, or its pre-tokenizer is not.
TokenizerJson read_gguf_tokenizer(const std::string& path);

/// What a tokenizer may be stored in, in a folder: whatever transformers, SentencePiece and Mistral
/// read of it.
inline constexpr std::string_view kTokenizerFiles[] = {
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "spiece.model",
    "tekken.json",
    "chat_template.jinja",
    "chat_template.json",
    "tokenizer.model.v3",
    "tiktoken.model",
};

/// The largest file that is read of a tokenizer or a model's config, in bytes.
inline constexpr size_t kLargestTokenizerFile = size_t{512} << 20;

/// Error names the file and what in it is damaged or not supported. Truncation and padding, which
/// tokenizer.json may carry, are left to the caller's own settings.
TokenizerParts make_tokenizer_parts(const TokenizerJson& json);

}  // namespace tessera::launch
