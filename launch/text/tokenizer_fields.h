// Typed access to the members of JSON objects that strangers wrote. `where` names the file and the
// object in errors.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

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

/// The beginning of a value as JSON, for messages.
std::string excerpt(const nlohmann::json& value);

}  // namespace tessera::launch
