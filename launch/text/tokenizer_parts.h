// What a Tokenizer is made of, and the making of it from Hugging Face's two JSON files.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "launch/text/bpe.h"
#include "launch/text/pretokenizer.h"
#include "launch/text/tokenizer_added_tokens.h"
#include "launch/text/tokenizer_decoder.h"
#include "launch/text/tokenizer_normalizer.h"

namespace tessera::launch {

struct TokenizerParts {
  Normalizer normalizer;
  Pretokenizer pretokenizer;
  Bpe bpe;
  TokenDecoder decoder;
  AddedTokenMatcher raw_tokens;         // looked for in the text as it is
  AddedTokenMatcher normalized_tokens;  // looked for after normalization
  std::vector<std::string> tokens;      // by id; empty where there is none
  std::vector<uint8_t> special;         // by id
  std::unordered_map<std::string, int32_t> added_ids;
  std::optional<int32_t> bos, eos, pad;
  bool adds_bos = false;
  std::string chat_template;
  std::vector<std::string> notes;  // what a user should know of what was read
};

/// The JSON a tokenizer comes as, and how errors call it.
struct TokenizerJson {
  nlohmann::json tokenizer;  // tokenizer.json
  std::string tokenizer_source;
  nlohmann::json config = nlohmann::json::object();  // tokenizer_config.json
  std::string config_source;
  /// The end of text as the model's own files have it, for a tokenizer that names none.
  std::optional<int32_t> model_eos = {};
  std::string model_eos_source = {};
  std::vector<std::string> notes = {};  // what a user should know of how it was made
};

/// Error names the file and what in it is damaged or not supported. Truncation and padding, which
/// tokenizer.json may carry, are left to the caller's own settings.
TokenizerParts make_tokenizer_parts(const TokenizerJson& json);

}  // namespace tessera::launch
