#include "launch/data/message_mapping.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "launch/data/role_names.h"
#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

using json = RowJson;

/// Our name of a role: as the data set's settings say, else as dumps commonly use it, else its own.
std::string our_role(const std::string& name, const DatasetConfig& dataset) {
  for (const auto& [ours, theirs] : dataset.roles) {
    if (std::ranges::count(theirs, name) > 0) return ours;
  }
  const std::string_view common = common_role(name);
  // Some templates have words of their own for what a tool says.
  return common.empty() || common == "tool" ? name : std::string(common);
}

/// Takes the value out of `object`; null where there is none.
json taken(json& object, const std::string& key) {
  const auto found = object.find(key);
  if (found == object.end()) return nullptr;
  json value = std::move(*found);
  object.erase(found);
  return value;
}

/// The message under our own keys. All are taken out first: two may change places.
json mapped_message(json message, const DatasetConfig& dataset, std::string_view where) {
  if (!message.is_object()) fail("{}: every message must be an object", where);
  std::vector<std::pair<std::string, json>> values;
  for (const auto& [ours, theirs] : dataset.message_property_mappings) {
    json value = ours == theirs ? json() : taken(message, theirs);
    if (!value.is_null()) values.emplace_back(ours, std::move(value));
  }
  for (auto& [ours, value] : values) put_under(message, ours, std::move(value));
  if (!has_value(message, "role") && has_value(message, "from")) {
    message["role"] = taken(message, "from");
    if (!has_value(message, "content")) message["content"] = taken(message, "value");
  }
  const auto role = message.find("role");
  if (role == message.end() || !role->is_string()) {
    std::string key = "role";
    for (const auto& [ours, theirs] : dataset.message_property_mappings) {
      if (ours == "role") key = theirs;
    }
    fail("{}: a message has no \"{}\", which its role should be in; it has {}", where, key,
         names_in(message));
  }
  *role = our_role(role->get<std::string>(), dataset);
  return message;
}

}  // namespace

void set_aside(json& object, const std::string& key) {
  json value = taken(object, key);
  if (!value.is_null()) object[key + " (as the file has it)"] = std::move(value);
}

void put_under(json& object, const std::string& key, json value) {
  set_aside(object, key);
  object[key] = std::move(value);
}

std::string names_in(const json& object) {
  std::vector<std::string> names;
  for (const auto& [key, value] : object.items()) names.push_back(io::printable(key, 40));
  return names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", "));
}

std::vector<std::string> our_roles(const std::vector<std::string>& names,
                                   const DatasetConfig& dataset) {
  std::vector<std::string> roles;
  for (const std::string& name : names) {
    const std::string role = our_role(name, dataset);
    roles.push_back(role == kFunctionCall ? "assistant" : role);
  }
  return roles;
}

void map_messages(json& row, const DatasetConfig& dataset, std::string_view where) {
  const bool asks = !dataset.message_property_mappings.empty() || !dataset.roles.empty();
  if (!asks && !dataset.drop_system_message) return;
  const char* column = has_value(row, "messages") ? "messages" : "conversations";
  if (!has_value(row, column)) return;
  json messages = row.at(column);
  if (!messages.is_array()) fail("{}: \"{}\" must be an array", where, column);
  for (json& message : messages) message = mapped_message(std::move(message), dataset, where);
  if (dataset.drop_system_message) {
    if (!messages.empty() && messages[0].at("role") == "system") messages.erase(0);
    for (const char* key : {"system", "system_prompt"}) row.erase(key);
  }
  row[column] = std::move(messages);
}

}  // namespace tessera::launch
