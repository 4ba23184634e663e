// What ends the answers of a model, as its files and its chat template say.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "launch/run/generator.h"
#include "launch/text/chat_template.h"
#include "launch/text/tokenizer/tokenizer.h"

namespace tessera::launch {

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
