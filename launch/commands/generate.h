// `tessera generate`: text from a base model, with or without an adapter.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launch/run/generator.h"
#include "launch/text/chat_template.h"
#include "launch/text/tokenizer/tokenizer.h"

namespace tessera::launch {

struct GenerateOptions {
  std::string base_model;
  std::optional<std::string> adapter;
  std::vector<std::string> base_settings;    // as base_config() takes them
  std::optional<std::string> prompt;         // a plain text to go on with
  std::optional<std::string> messages;       // a file, as read_conversations() takes it
  std::optional<std::string> chat_template;  // empty: that of the adapter's run
  int64_t max_new_tokens = 256;
  SamplerOptions sampler;
  std::optional<int64_t> threads;
};

/// Writes to stdout: the new text alone, token by token, or for JSON lines of conversations one
/// {"text": ...} each, in their order. Error when a signal stops it.
void generate(const GenerateOptions& options);

/// What the generation_config.json of a model folder says; nothing where there is none.
struct GenerationConfig {
  std::vector<int32_t> stop_ids;   // its eos_token_id
  std::vector<std::string> notes;  // its keys that are not used, for the user to see
};

/// Error naming file and key when its eos_token_id is no token id.
GenerationConfig read_generation_config(const std::string& base_model);

/// The tokens that end an answer: the model's and the tokenizer's end of text, those of
/// generation_config.json, and what the template closes an assistant's turn with.
std::vector<StopToken> stop_tokens(const lora::Checkpoint& model,
                                   const GenerationConfig& generation, const Tokenizer& tokenizer,
                                   const ChatTemplate* chat);

}  // namespace tessera::launch
