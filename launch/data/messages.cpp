#include "launch/data/messages.h"

#include <algorithm>
#include <array>

#include "launch/data/role_names.h"
#include "launch/text/jinja/format.h"
#include "runtime/core/error.h"
#include "runtime/core/function_ref.h"
#include "runtime/io/json.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

using json = RowJson;

/// How a row spells its conversation.
struct Spelling {
  const char* list;
  const char* role;
  const char* content;
};
constexpr Spelling kOpenAi = {"messages", "role", "content"};
constexpr Spelling kShareGpt = {"conversations", "from", "value"};

std::string excerpt(const json& value) { return io::printable(value.dump(), 60); }

std::string text_at(const json& object, const char* key, std::string_view where) {
  const auto found = object.find(key);
  if (found == object.end()) fail("{}: '{}' is missing", where, key);
  if (!found->is_string()) fail("{}: '{}' must be a string, not {}", where, key, excerpt(*found));
  return found->get<std::string>();
}

std::string role_of(const json& message, const Spelling& spelling, std::string_view where) {
  const std::string name = text_at(message, spelling.role, where);
  const std::string_view role = common_role(name);
  if (role == kFunctionCall) return "assistant";
  // Some templates have words of their own for what a tool says.
  const bool own = role.empty() || role == "tool";
  if (spelling.role != kShareGpt.role && own) return name;
  if (!role.empty()) return std::string(role);
  fail(
      "{}: unknown role \"{}\" (system, human, user, gpt, chatgpt, bard, bing, model, assistant, "
      "function_call, observation or tool); `roles` of the data set says what others are",
      where, io::printable(name));
}

/// JSON that data sets keep as text.
json parsed(const json& value, const char* key, std::string_view where) {
  if (!value.is_string()) return value;
  return io::parse_ordered_json(value.get_ref<const std::string&>(),
                                fmt::format("{}: \"{}\"", where, key));
}

/// The calls that a message of the role function_call makes: one object, or a list of them.
json calls_of(const json& value, std::string_view where) {
  json calls = parsed(value, "value", where);
  if (calls.is_object()) calls = json::array({std::move(calls)});
  if (!calls.is_array())
    fail("{}: a function_call must be an object with name and arguments", where);
  json out = json::array();
  for (const json& call : calls) {
    if (!call.is_object() || !call.contains("name")) {
      fail("{}: a function_call must be an object with name and arguments, not {}", where,
           excerpt(call));
    }
    out.push_back({{"type", "function"}, {"function", call}});
  }
  return out;
}

bool is_content(const json& value) {
  return value.is_string() || value.is_array() || value.is_object();
}

bool is_learned_key(std::string_view key) {
  return std::ranges::find(kLearnedKeys, key) != kLearnedKeys.end();
}

/// The message with OpenAI's keys, without those that say whether it is learned.
json given_message(const json& item, std::string_view where) {
  if (!item.is_object()) fail("{}: every message must be an object", where);
  const Spelling& spelling =
      !has_value(item, "role") && has_value(item, "from") ? kShareGpt : kOpenAi;
  json message = {{"role", role_of(item, spelling, where)}};
  const bool calls = common_role(text_at(item, spelling.role, where)) == kFunctionCall;
  for (const auto& [key, value] : item.items()) {
    if (key == spelling.role || value.is_null() || is_learned_key(key)) continue;
    if (key == spelling.content) {
      if (!is_content(value)) {
        fail("{}: \"{}\" must be a string or a list of text parts, not {}", where, key,
             excerpt(value));
      }
      message[calls ? "tool_calls" : "content"] = calls ? calls_of(value, where) : value;
    } else {
      message[key] = value;
    }
  }
  if (calls) message["content"] = "";
  if (message.size() == 1) {
    fail("{}: the message has no \"{}\"", where, spelling.content);
  }
  return message;
}

/// OpenAI's weight of 1 is the rule, not a wish: it asks for nothing where the role is context.
std::optional<bool> learned_of(const json& item, std::string_view where) {
  const std::optional<bool> learned = learned_by_keys(item, where);
  return learned == true && has_value(item, "weight") ? std::nullopt : learned;
}

/// The system text of a row that is not among its messages.
std::string system_of(const json& row, std::string_view where) {
  std::string text;
  for (const char* key : {"system", "system_prompt"}) {
    const std::string found = has_value(row, key) ? text_at(row, key, where) : std::string();
    if (!text.empty() && !found.empty() && text != found) {
      fail("{}: \"system\" and \"system_prompt\" differ", where);
    }
    if (!found.empty()) text = found;
  }
  return text;
}

void add_system(Conversation& conversation, const std::string& system, std::string_view where) {
  if (system.empty()) return;
  json& messages = conversation.messages;
  if (messages[0].at("role") != "system") {
    messages.insert(messages.begin(), json{{"role", "system"}, {"content", system}});
    conversation.learned.insert(conversation.learned.begin(), std::nullopt);
  } else if (messages[0].at("content") != system) {
    fail("{}: the row's \"system\" and its first message are two system texts; keep one", where);
  }
}

json list_column(const json& row, const char* key, std::string_view where) {
  json list = parsed(row.at(key), key, where);
  if (!list.is_array()) fail("{}: \"{}\" must be an array, not {}", where, key, excerpt(list));
  return list;
}

void add_variables(Conversation& conversation, const json& row, std::string_view where) {
  for (const char* key : {"tools", "documents"}) {
    // An empty list is not the same as none to some templates.
    if (!says_something(row, key) && !(row.contains(key) && row.at(key).is_array())) continue;
    conversation.variables[key] = list_column(row, key, where);
  }
  if (!says_something(row, kTemplateVariables)) return;
  const json variables = parsed(row.at(kTemplateVariables), kTemplateVariables, where);
  if (!variables.is_object()) fail("{}: \"{}\" must be an object", where, kTemplateVariables);
  for (const auto& [key, value] : variables.items()) conversation.variables[key] = value;
}

/// The text of one part of a content that is a list.
std::string part_text(const json& part, std::string_view where, RowRemarks& remarks) {
  if (part.is_string()) return part.get<std::string>();
  const auto type = part.is_object() ? part.find("type") : part.end();
  // LLaMA-Factory has the text under "value".
  const char* key = part.is_object() && has_value(part, "text") ? "text" : "value";
  if (part.is_object() && has_value(part, key) && (type == part.end() || *type == "text")) {
    check_message_keys(part, {std::array<std::string_view, 2>{"type", key}}, where, remarks);
    return text_at(part, key, where);
  }
  fail(
      "{}: a content has a part of type {}; only parts {{\"type\": \"text\", \"text\": ...}} can "
      "be learned",
      where,
      !part.is_object()    ? excerpt(part)
      : type == part.end() ? "unknown"
                           : excerpt(*type));
}

/// Where the template prints lists as Python does, one text takes the place of a list of parts.
void fit_content(json& message, const ChatTemplate& chat, std::string_view where,
                 RowRemarks& remarks) {
  const auto content = message.find("content");
  if (content == message.end() || !content->is_array()) return;
  std::string text;
  for (const json& part : *content) text += part_text(part, where, remarks);
  const bool as_it_is = chat.takes_parts() && std::ranges::all_of(*content, [](const json& part) {
                          return part.is_object() && has_value(part, "text");
                        });
  if (!as_it_is) *content = std::move(text);
}

void fit_arguments(json& call, ToolArguments form, std::string_view where) {
  json* function = &call;
  if (call.is_object() && call.contains("function")) function = &call["function"];
  if (!function->is_object() || !function->contains("arguments")) return;
  json& arguments = (*function)["arguments"];
  if (form == ToolArguments::kObject && arguments.is_string()) {
    arguments = parsed(arguments, "arguments", where);
  } else if (form == ToolArguments::kText && arguments.is_object()) {
    // As Python's json.dumps has it, which wrote most of them.
    jinja::Budget budget;
    arguments = jinja::json_of(jinja::Value::from_json(arguments, 0), {}, budget).bytes;
  }
}

/// Roles that need no mention in the template: many print whatever role there is.
bool is_known_role(const std::string& role) {
  static constexpr std::array<std::string_view, 6> kKnown = {"system",    "developer", "user",
                                                             "assistant", "tool",      "function"};
  return std::ranges::find(kKnown, role) != kKnown.end();
}

/// The variables that the template reads.
std::vector<std::string_view> variables_read(const Conversation& conversation,
                                             const ChatTemplate& chat) {
  std::vector<std::string_view> read;
  for (const auto& [key, value] : conversation.variables.items()) {
    if (chat.mentions(conversation, key)) read.push_back(key);
  }
  return read;
}

/// The keys of a message that the template reads, or that say what it is.
std::vector<std::string_view> keys_read(const Conversation& conversation, const json& message,
                                        const ChatTemplate& chat) {
  const auto mentioned = [&](std::string_view key) { return chat.mentions(conversation, key); };
  std::vector<std::string_view> read = {"role", "content"};
  for (const auto& [key, value] : message.items()) {
    const bool under_any_name =
        is_reasoning_key(key) && std::ranges::any_of(kReasoningKeys, mentioned);
    if (!is_media_key(key) && (under_any_name || mentioned(key))) read.push_back(key);
  }
  return read;
}

void for_each_text(const Conversation& conversation, FunctionRef<void(std::string_view)> visit) {
  for (const json& message : conversation.messages) {
    const auto content = message.find("content");
    if (content == message.end()) continue;
    if (content->is_string()) visit(content->get_ref<const std::string&>());
    if (!content->is_array()) continue;
    for (const json& part : *content) {
      if (part.is_object() && part.contains("text") && part["text"].is_string()) {
        visit(part["text"].get_ref<const std::string&>());
      }
    }
  }
}

}  // namespace

Conversation conversation_of(const json& row, std::string_view where, RowRemarks& remarks) {
  const Spelling& spelling =
      !has_value(row, "messages") && has_value(row, "conversations") ? kShareGpt : kOpenAi;
  const std::array<std::string_view, 6> read = {spelling.list, "system",    "system_prompt",
                                                "tools",       "documents", kTemplateVariables};
  if (!has_value(row, spelling.list)) fail("{}: the row has no \"messages\"", where);
  check_columns(row, {read}, where, remarks);
  const json& list = row.at(spelling.list);
  if (!list.is_array() || list.empty()) {
    fail("{}: \"{}\" must be a non-empty array", where, spelling.list);
  }
  Conversation conversation;
  for (const json& item : list) {
    conversation.messages.push_back(given_message(item, where));
    conversation.learned.push_back(learned_of(item, where));
  }
  add_system(conversation, system_of(row, where), where);
  add_variables(conversation, row, where);
  return conversation;
}

void fit_to_template(Conversation& conversation, const ChatTemplate& chat, std::string_view where,
                     RowRemarks& remarks) {
  check_columns(conversation.variables, {variables_read(conversation, chat)}, where, remarks);
  for (json& message : conversation.messages) {
    const std::string role = message.at("role");
    if (!is_known_role(role) && !chat.mentions(conversation, role)) {
      const std::string_view common = common_role(role);
      if (common.empty()) {
        fail(
            "{}: unknown role \"{}\" (system, developer, user, assistant, tool or function); "
            "`roles` of the data set says what others are",
            where, io::printable(role));
      }
      message["role"] = common;
    }
    check_message_keys(message, {keys_read(conversation, message, chat)}, where, remarks);
    fit_content(message, chat, where, remarks);
    if (chat.needs_content() && !message.contains("content")) message["content"] = "";
    if (!message.contains("tool_calls") || !message["tool_calls"].is_array()) continue;
    for (json& call : message["tool_calls"]) fit_arguments(call, chat.tool_arguments(), where);
  }
}

void note_unread_keys(const Conversation& conversation, const ChatTemplate& chat,
                      RowRemarks& remarks) {
  note_unused(conversation.variables, variables_read(conversation, chat), remarks.unused_columns);
  for (const json& message : conversation.messages) {
    note_unused(message, keys_read(conversation, message, chat), remarks.unused_message_keys);
  }
}

void count_letters(const Encoding& encoding, const Conversation& conversation,
                   const Tokenizer& tokenizer, RowRemarks& remarks) {
  for (const int32_t id : encoding.spelled_out) ++remarks.spelled_out[tokenizer.token(id)];
  count_placeholders(conversation, tokenizer, remarks);
}

void count_placeholders(const Conversation& conversation, const Tokenizer& tokenizer,
                        RowRemarks& remarks) {
  for_each_text(conversation, [&](std::string_view text) {
    remarks.count_placeholders("messages", text, tokenizer);
  });
}

}  // namespace tessera::launch
