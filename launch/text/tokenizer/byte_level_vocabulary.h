// Vocabularies of bytes, as tiktoken and Tekken have them: tokens by rank. A text's word is merged
// by the lowest rank that two neighbours make.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>

namespace tessera::launch {

/// A token of more bytes makes recovering the merges slow, and no vocabulary has one.
inline constexpr size_t kLongestByteToken = 1024;

/// Model, pre-tokenizer and decoder of a tokenizer.json. `ranked` holds the bytes of each rank,
/// empty for a rank without a token; a token's id is its rank plus `first_id`. Words are what
/// `pattern` matches.
nlohmann::json byte_level_tokenizer(std::span<const std::string> ranked, size_t first_id,
                                    std::string_view pattern);

}  // namespace tessera::launch
