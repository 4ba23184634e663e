#include "launch/data/messages.h"

#include <algorithm>
#include <array>
#include <map>

#include "launch/text/tokenizer_fields.h"
#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

using nlohmann::json;

/// How a row spells its conversation.
struct Spelling {
  const char* list;
  const char* role;
  const char* content;
};
constexpr Spelling kOpenAi = {"messages", "role", "content"};
constexpr Spelling kShareGpt = {"conversations", "from", "value"};

/// A role by the names that ShareGPT's dumps give it; none where the name is not known.
std::optional<std::string> sharegpt_role(const std::string& name) {
  static const std::map<std::string, std::string, std::less<>> kRoles = {
      {"system", "system"},  {"human", "user"},        {"user", "user"},
      {"gpt", "assistant"},  {"chatgpt", "assistant"}, {"bard", "assistant"},
      {"bing", "assistant"}, {"model", "assistant"},   {"assistant", "assistant"}};
  const auto found = kRoles.find(name);
  return found == kRoles.end() ? std::nullopt : std::optional(found->second);
}

std::string role_of(const json& message, const Spelling& spelling, std::string_view where) {
  const std::string name = string_field(message, spelling.role, std::string(where));
  if (name == "system" || name == "user" || name == "assistant") return name;
  const bool sharegpt = spelling.role == kShareGpt.role;
  if (const auto role = sharegpt ? sharegpt_role(name) : std::nullopt) return *role;
  if (name.find("tool") != name.npos || name.find("function") != name.npos ||
      name == "observation" || name == "ipython") {
    fail("{}: the role \"{}\": messages of tools cannot be rendered yet", where,
         io::printable(name));
  }
  fail("{}: unknown role \"{}\" ({})", where, io::printable(name),
       sharegpt ? "system, human, user, gpt, chatgpt, bard, bing, model or assistant"
                : "system, user or assistant");
}

/// The text of one part of a content that is a list.
std::string part_text(const json& part, std::string_view where, RowRemarks& remarks) {
  if (part.is_string()) return part.get<std::string>();
  const std::string at(where);
  if (part.is_object() && has_value(part, "text") &&
      optional_string(part, "type", at).value_or("text") == "text") {
    check_message_keys(part, {std::array<std::string_view, 2>{"type", "text"}}, where, remarks);
    return string_field(part, "text", at);
  }
  fail(
      "{}: a content has a part of type {}; only parts {{\"type\": \"text\", \"text\": ...}} can "
      "be "
      "learned",
      where, part.is_object() ? part.value("type", json("unknown")).dump() : excerpt(part));
}

std::string content_of(const json& message, const char* key, std::string_view where,
                       RowRemarks& remarks) {
  const auto found = message.find(key);
  if (found == message.end()) fail("{}: the message has no \"{}\"", where, key);
  if (found->is_string()) return found->get<std::string>();
  if (!found->is_array()) {
    fail("{}: \"{}\" must be a string or a list of text parts, not {}", where, key,
         excerpt(*found));
  }
  std::string text;
  for (const json& part : *found) text += part_text(part, where, remarks);
  return text;
}

Message message_of(const json& item, std::string_view where, RowRemarks& remarks) {
  if (!item.is_object()) fail("{}: every message must be an object", where);
  const Spelling& spelling =
      !has_value(item, "role") && has_value(item, "from") ? kShareGpt : kOpenAi;
  std::vector<std::string_view> read(kLearnedKeys.begin(), kLearnedKeys.end());
  read.insert(read.end(), {spelling.role, spelling.content});
  check_message_keys(item, {read}, where, remarks);
  Message message{role_of(item, spelling, where),
                  content_of(item, spelling.content, where, remarks)};
  const std::optional<bool> learned = learned_by_keys(item, where);
  if (learned == true && message.role != "assistant" && !has_value(item, "weight")) {
    fail(
        "{}: a message of the {} is to be learned; only the assistant's can be (train_on_inputs "
        "learns all)",
        where, message.role);
  }
  message.learned = learned.value_or(true);
  return message;
}

/// The system text of a row that is not among its messages.
std::string system_of(const json& row, std::string_view where) {
  std::string text;
  for (const char* key : {"system", "system_prompt"}) {
    const std::string found = optional_string(row, key, std::string(where)).value_or("");
    if (!text.empty() && !found.empty() && text != found) {
      fail("{}: \"system\" and \"system_prompt\" differ", where);
    }
    if (!found.empty()) text = found;
  }
  return text;
}

}  // namespace

std::vector<Message> messages_of(const json& row, std::string_view where, RowRemarks& remarks) {
  const Spelling& spelling =
      !has_value(row, "messages") && has_value(row, "conversations") ? kShareGpt : kOpenAi;
  const std::array<std::string_view, 3> read = {spelling.list, "system", "system_prompt"};
  if (!has_value(row, spelling.list)) fail("{}: the row has no \"messages\"", where);
  check_columns(row, {read}, where, remarks);
  const json& list = row.at(spelling.list);
  if (!list.is_array() || list.empty()) {
    fail("{}: \"{}\" must be a non-empty array", where, spelling.list);
  }
  std::vector<Message> messages;
  const std::string system = system_of(row, where);
  if (!system.empty()) messages.push_back({"system", system});
  for (const json& item : list) messages.push_back(message_of(item, where, remarks));
  if (!system.empty() && messages[1].role == "system") {
    if (messages[1].content != system) {
      fail("{}: the row's \"system\" and its first message are two system texts; keep one", where);
    }
    messages.erase(messages.begin());
  }
  return messages;
}

void count_letters(const Encoding& encoding, std::span<const Message> messages,
                   const Tokenizer& tokenizer, RowRemarks& remarks) {
  for (const int32_t id : encoding.spelled_out) ++remarks.spelled_out[tokenizer.token(id)];
  for (const Message& message : messages) {
    remarks.count_placeholders("messages", message.content, tokenizer);
  }
}

}  // namespace tessera::launch
