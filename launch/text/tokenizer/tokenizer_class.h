// Which tokenizer class transformers 5 makes of a folder that holds no tokenizer.json.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace tessera::launch {

/// The class that follows the tokenizer's own file and has no habits.
inline constexpr const char* kPlainTokenizerClass = "TokenizersBackend";

/// The name without "Fast". `config` is tokenizer_config.json, `model_config` config.json; both are
/// objects, which may be empty.
std::string tokenizer_class_of(const nlohmann::json& config, const nlohmann::json& model_config);

}  // namespace tessera::launch
