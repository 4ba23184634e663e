// The chat templates of a tokenizer, of which it may have several, each with a name.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>

namespace tessera::launch {

/// Templates by name. The one that holds where none is named is "default".
using ChatTemplates = std::map<std::string, std::string>;

/// Of "chat_template" of tokenizer_config.json: one text, or a list of names and templates. Error,
/// beginning with `source`, for anything else and for a name given twice.
ChatTemplates read_chat_templates(const nlohmann::json& config, const std::string& source);

/// The same as that key's value; null for none.
nlohmann::json chat_templates_json(const ChatTemplates& templates);

}  // namespace tessera::launch
