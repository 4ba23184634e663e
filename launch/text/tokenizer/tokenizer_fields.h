// Typed access to the members of JSON objects that strangers wrote. `where` names the file and the
// object in errors.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace tessera::launch {

/// Error when `node` is no object or lacks `key`.
const nlohmann::json& field(const nlohmann::json& node, const char* key, const std::string& where);
std::string string_field(const nlohmann::json& node, const char* key, const std::string& where);
const nlohmann::json& array_field(const nlohmann::json& node, const char* key,
                                  const std::string& where);

// Absent or null gives `otherwise`; another type is an Error.
bool bool_field(const nlohmann::json& node, const char* key, bool otherwise,
                const std::string& where);
std::optional<std::string> optional_string(const nlohmann::json& node, const char* key,
                                           const std::string& where);

/// A token id in [0, kMaxTokenId].
int32_t token_id_of(const nlohmann::json& value, const std::string& where);
inline constexpr int32_t kMaxTokenId = (1 << 24) - 1;

/// "eos_token_id" of a model's config.json or generation_config.json: a number, a list of them, or
/// nothing. Error naming `source` and the key when it holds anything else.
std::vector<int32_t> end_token_ids(const nlohmann::json& config, const std::string& source);

/// The beginning of a value as JSON, for messages.
std::string excerpt(const nlohmann::json& value);

}  // namespace tessera::launch
