#include "launch/text/tokenizer/tokenizer_chat_templates.h"

#include "launch/text/tokenizer/tokenizer_fields.h"
#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::launch {

using nlohmann::json;

ChatTemplates read_chat_templates(const json& config, const std::string& source) {
  ChatTemplates templates;
  const auto found = config.find("chat_template");
  if (found == config.end() || found->is_null()) return templates;
  if (!found->is_array()) {
    templates["default"] = string_field(config, "chat_template", source);
    return templates;
  }
  const std::string where = source + ": chat_template";
  for (const json& node : *found) {
    const std::string name = string_field(node, "name", where);
    if (!templates.emplace(name, string_field(node, "template", where)).second) {
      fail("{} lists '{}' twice", where, io::printable(name));
    }
  }
  return templates;
}

json chat_templates_json(const ChatTemplates& templates) {
  if (templates.empty()) return nullptr;
  if (templates.size() == 1 && templates.contains("default")) return templates.at("default");
  json list = json::array();
  for (const auto& [name, text] : templates) list.push_back({{"name", name}, {"template", text}});
  return list;
}

}  // namespace tessera::launch
