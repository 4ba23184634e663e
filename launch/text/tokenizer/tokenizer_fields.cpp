#include "launch/text/tokenizer/tokenizer_fields.h"

#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

const nlohmann::json* find(const nlohmann::json& node, const char* key, const std::string& where) {
  if (!node.is_object()) fail("{} must be a JSON object, not {}", where, excerpt(node));
  const auto found = node.find(key);
  return found == node.end() || found->is_null() ? nullptr : &*found;
}

}  // namespace

const nlohmann::json& field(const nlohmann::json& node, const char* key, const std::string& where) {
  const nlohmann::json* found = find(node, key, where);
  if (!found) fail("{}: '{}' is missing", where, key);
  return *found;
}

std::string string_field(const nlohmann::json& node, const char* key, const std::string& where) {
  const nlohmann::json& value = field(node, key, where);
  if (!value.is_string()) fail("{}: '{}' must be a string, not {}", where, key, excerpt(value));
  return value.get<std::string>();
}

const nlohmann::json& array_field(const nlohmann::json& node, const char* key,
                                  const std::string& where) {
  const nlohmann::json& value = field(node, key, where);
  if (!value.is_array()) fail("{}: '{}' must be an array, not {}", where, key, excerpt(value));
  return value;
}

bool bool_field(const nlohmann::json& node, const char* key, bool otherwise,
                const std::string& where) {
  const nlohmann::json* value = find(node, key, where);
  if (!value) return otherwise;
  if (!value->is_boolean()) {
    fail("{}: '{}' must be true or false, not {}", where, key, excerpt(*value));
  }
  return value->get<bool>();
}

std::optional<std::string> optional_string(const nlohmann::json& node, const char* key,
                                           const std::string& where) {
  if (!find(node, key, where)) return std::nullopt;
  return string_field(node, key, where);
}

int32_t token_id_of(const nlohmann::json& value, const std::string& where) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() > uint64_t(kMaxTokenId)) {
    fail("{}: a token id must be an integer from 0 to {}, not {}", where, kMaxTokenId,
         excerpt(value));
  }
  return value.get<int32_t>();
}

std::vector<int32_t> end_token_ids(const nlohmann::json& config, const std::string& source) {
  std::vector<int32_t> ids;
  const nlohmann::json* found = find(config, "eos_token_id", source);
  if (!found) return ids;
  const std::string where = source + ": eos_token_id";
  if (!found->is_array()) return {token_id_of(*found, where)};
  for (const nlohmann::json& id : *found) {
    if (!id.is_null()) ids.push_back(token_id_of(id, where));
  }
  return ids;
}

std::string excerpt(const nlohmann::json& value) {
  constexpr size_t kLongest = 60;
  if (value.is_structured()) return value.is_array() ? "an array" : "an object";
  const std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true);
  return text.size() <= kLongest ? text : text.substr(0, kLongest) + "...";
}

}  // namespace tessera::launch
