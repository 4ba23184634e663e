// The parts of a tokenizer.json, for the readers of other vocabularies: whatever a vocabulary comes
// in, it becomes a tokenizer.json, and one engine reads that.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "launch/text/tokenizer/tokenizer_parts.h"

namespace tessera::launch {

/// Of "added_tokens": looked for in the text as it is, without any of the options of white space.
nlohmann::json added_token(size_t id, std::string_view content, bool special);

/// `kind` is "String" or "Regex"; every match becomes a word of its own, unless `behavior` says
/// otherwise.
nlohmann::json split_step(const char* kind, std::string_view pattern,
                          const char* behavior = "Isolated");
nlohmann::json replace_step(const char* kind, std::string_view pattern, std::string_view content);
/// As a pre-tokenizer or decoder. `use_regex`: GPT-2's pattern cuts the words too.
nlohmann::json byte_level_step(bool use_regex);
/// "Sequence" of a normalizer, pre-tokenizer or decoder; null where there are no steps.
nlohmann::json normalizer_sequence(nlohmann::json steps);
nlohmann::json pretokenizer_sequence(nlohmann::json steps);
nlohmann::json decoder_sequence(nlohmann::json steps);

/// "model" of the type BPE; of its options those that are not given are off.
nlohmann::json bpe_model(nlohmann::json vocabulary, nlohmann::json merges);

/// A token's text and id.
using NamedId = std::pair<std::string, size_t>;
/// The post-processor that puts these around a text; null for none.
nlohmann::json text_template(const std::optional<NamedId>& before,
                             const std::optional<NamedId>& after);

/// Fills in what every tokenizer.json has and `parts` lacks.
nlohmann::json whole_tokenizer(nlohmann::json parts);

// Put what `json` holds among its files, in place of a file of that name.
void put_tokenizer_file(TokenizerJson& json);  // tokenizer.json
void put_config_file(TokenizerJson& json);     // tokenizer_config.json

}  // namespace tessera::launch
