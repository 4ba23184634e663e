#include "launch/text/chat_template.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <ctime>

#include "launch/text/chat_template_texts.h"
#include "runtime/core/error.h"
#include "runtime/io/file.h"
#include "runtime/io/folder.h"
#include "runtime/io/hash.h"

namespace tessera::launch {
namespace {

using Json = Conversation::Json;

constexpr size_t kLargestTemplate = size_t{1} << 20;

/// What strftime_now prints. SOURCE_DATE_EPOCH makes renders repeatable.
int64_t template_time() {
  const char* fixed = std::getenv("SOURCE_DATE_EPOCH");
  if (!fixed || !*fixed) return int64_t(std::time(nullptr));
  const std::string_view text = fixed;
  int64_t seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc() || end != text.data() + text.size()) {
    fail_usage("SOURCE_DATE_EPOCH must be a number of seconds, not '{}'", text);
  }
  return seconds;
}

std::vector<std::string> choices(const Tokenizer& tokenizer) {
  std::vector<std::string> names;
  for (const NamedTemplate& named : named_templates()) names.emplace_back(named.name);
  for (const auto& [name, text] : tokenizer.chat_templates()) {
    if (name != "default") names.push_back(name);
  }
  return names;
}

void require_tokens(const NamedTemplate& named, const Tokenizer& tokenizer) {
  for (const std::string_view token : named.tokens) {
    if (!token.empty() && !tokenizer.token_id(token)) {
      fail_usage("chat_template: {} needs the token {}, which the tokenizer does not have",
                 named.name, token);
    }
  }
  if (named.needs_bos && !tokenizer.bos_id()) {
    fail_usage("chat_template: {} needs a beginning-of-text token", named.name);
  }
  if (named.needs_eos && !tokenizer.eos_id()) {
    fail_usage("chat_template: {} needs an end-of-text token", named.name);
  }
}

struct Source {
  std::string name, text;
};

/// The template that `choice` means.
Source find(const std::string& choice, const Tokenizer& tokenizer) {
  if (choice == "tokenizer_default") {
    if (tokenizer.chat_template().empty()) {
      fail_usage(
          "chat_template: the tokenizer brings no chat template; choose one of {}, or a file",
          fmt::join(choices(tokenizer), ", "));
    }
    return {"chat_template", tokenizer.chat_template()};
  }
  const auto own = tokenizer.chat_templates().find(choice);
  if (own != tokenizer.chat_templates().end()) return {choice, own->second};
  const auto named = std::ranges::find(named_templates(), choice, &NamedTemplate::name);
  if (named != named_templates().end()) {
    require_tokens(*named, tokenizer);
    const bool begins = named->begins_as_text && tokenizer.adds_bos();
    return {choice, (begins ? "{{ bos_token }}" : "") + std::string(named->jinja)};
  }
  if (choice.find("{{") != choice.npos || choice.find("{%") != choice.npos) {
    return {"chat_template", choice};
  }
  if (io::exists(choice)) return {choice, io::read_file(choice, kLargestTemplate)};
  fail_usage(
      "chat_template: '{}' is unknown; choose one of tokenizer_default, {}, a file, or give a "
      "Jinja text",
      choice, fmt::join(choices(tokenizer), ", "));
}

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

std::set<std::string, std::less<>> words_of(std::string_view text) {
  std::set<std::string, std::less<>> words;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    while (at < text.size() && is_word(text[at])) ++at;
    if (at > begin) words.emplace(text.substr(begin, at - begin));
    if (at == begin) ++at;
  }
  return words;
}

jinja::Value calls_of(const Json& calls, int32_t message) {
  jinja::List list;
  for (const Json& call : calls) {
    const int32_t part = MessagePart::kFirstCall + int32_t(list.size());
    list.push_back(jinja::Value::from_json(call, MessagePart{message, part}.source()));
  }
  return jinja::Value::list(std::move(list));
}

/// The value of a message's key, with the marks of its part.
jinja::Value value_of(const std::string& key, const Json& value, int32_t message) {
  const auto of = [&](int32_t part) {
    return jinja::Value::from_json(value, MessagePart{message, part}.source());
  };
  if (key == "content") return of(MessagePart::kContent);
  if (is_reasoning_key(key)) return of(MessagePart::kReasoning);
  if (key == "tool_calls" && value.is_array()) return calls_of(value, message);
  if (key == "tool_calls" || key == "function_call") return of(MessagePart::kFirstCall);
  return jinja::Value::from_json(value, MessagePart::kOtherData);
}

/// The message as transformers hands it to a template.
jinja::Value prepared(const Json& message, int32_t index) {
  jinja::Dict out;
  const Json* reasoning = nullptr;
  for (const std::string_view key : kReasoningKeys) {
    const auto found = message.find(key);
    if (!reasoning && found != message.end() && !found->is_null()) reasoning = &*found;
  }
  const auto set = [&](const std::string& key, const Json& value) {
    out.set(jinja::Value(jinja::Text(key)), value_of(key, value, index));
  };
  if (reasoning) set("thinking", *reasoning);
  for (const auto& [key, value] : message.items()) {
    if (!value.is_null()) set(key, value);
  }
  if (reasoning) set("reasoning_content", *reasoning);
  return out;
}

bool has_tools(const Conversation& conversation) {
  const auto tools = conversation.variables.find("tools");
  return tools != conversation.variables.end() && !tools->is_null();
}

constexpr std::string_view kProbe = "tessera_probe";

/// A text whose arguments are an object of one text, in either form.
Conversation call_with(Json arguments) {
  Conversation probe;
  probe.messages = Json::array(
      {{{"role", "user"}, {"content", "u"}},
       {{"role", "assistant"},
        {"content", ""},
        {"tool_calls",
         Json::array({{{"id", "abcdefghi"},
                       {"type", "function"},
                       {"function", {{"name", "f"}, {"arguments", std::move(arguments)}}}}})}}});
  return probe;
}

}  // namespace

uint64_t ChatTemplate::fingerprint() const {
  std::string all = variables_.dump();
  for (const Text& text : texts_) all += fmt::format(" {:016x}", text.hash);
  if (prints_time()) all += fmt::format(" at {}", now_);
  return io::hash_bytes(std::as_bytes(std::span(all)), 0);
}

ChatTemplate::Text ChatTemplate::parse(const std::string& text, const std::string& name) {
  return {jinja::Template::parse(text, name), words_of(text),
          io::hash_bytes(std::as_bytes(std::span(text)), 0)};
}

ChatTemplate ChatTemplate::resolve(const std::string& choice, const Tokenizer& tokenizer,
                                   Json variables) {
  const Source source = find(choice, tokenizer);
  ChatTemplate out;
  out.name_ = choice;
  out.texts_.push_back(parse(source.text, source.name));
  const auto with_tools = tokenizer.chat_templates().find("tool_use");
  if (choice == "tokenizer_default" && with_tools != tokenizer.chat_templates().end()) {
    out.texts_.push_back(parse(with_tools->second, "chat_template tool_use"));
  }
  out.variables_ = std::move(variables);
  out.now_ = template_time();
  for (const auto& [name, token] : tokenizer.named_tokens()) {
    out.tokens_.set(jinja::Value(jinja::Text(name)), jinja::Text(token));
  }
  out.probe();
  return out;
}

const ChatTemplate::Text& ChatTemplate::text_for(const Conversation& conversation) const {
  return texts_[texts_.size() > 1 && has_tools(conversation) ? 1 : 0];
}

bool ChatTemplate::marks_generation(const Conversation& conversation) const {
  return text_for(conversation).jinja.has_generation();
}

bool ChatTemplate::mentions(const Conversation& conversation, std::string_view key) const {
  return text_for(conversation).words.contains(key);
}

ChatTemplate::Chat ChatTemplate::chat(const Conversation& conversation) const {
  Chat chat;
  chat.template_ = &text_for(conversation).jinja;
  chat.now_ = now_;
  for (const Json& message : conversation.messages) {
    chat.messages_.push_back(prepared(message, int32_t(chat.messages_.size())));
  }
  chat.variables_ = tokens_;
  for (const char* name : {"tools", "documents"}) chat.variables_.set(name, jinja::Value());
  for (const Json* variables : {&variables_, &conversation.variables}) {
    for (const auto& [name, value] : variables->items()) {
      chat.variables_.set(jinja::Value(jinja::Text(name)),
                          jinja::Value::from_json(value, MessagePart::kOtherData));
    }
  }
  return chat;
}

jinja::Rendered ChatTemplate::Chat::render(size_t messages, bool add_generation_prompt) const {
  jinja::Dict variables = variables_;
  jinja::List list(messages_.begin(), messages_.begin() + int64_t(messages));
  variables.set("messages", jinja::Value::list(std::move(list)));
  variables.set("add_generation_prompt", add_generation_prompt);
  return template_->render(jinja::Value(std::move(variables)), now_);
}

/// Finds out what no text says: templates differ in the form of contents and arguments they take,
/// and print Python's spelling of the other one.
void ChatTemplate::probe() {
  const auto rendered = [&](const Conversation& conversation) -> std::optional<std::string> {
    try {
      return chat(conversation).render(/*add_generation_prompt=*/false).text;
    } catch (const Error&) {
      return std::nullopt;
    }
  };
  Conversation parts;
  parts.messages = Json::array(
      {{{"role", "user"},
        {"content", Json::array({{{"type", "text"}, {"text", std::string(kProbe)}}})}}});
  const std::optional<std::string> text = rendered(parts);
  takes_parts_ = text && text->find(kProbe) != text->npos && text->find("'text'") == text->npos;

  const std::string value(kProbe);
  const auto as_object = rendered(call_with({{"k", value}}));
  const auto as_text = rendered(call_with(fmt::format("{{\"k\": \"{}\"}}", value)));
  const auto has = [](const std::optional<std::string>& where, const std::string& what) {
    return where && where->find(what) != where->npos;
  };
  const bool object_printed = has(as_object, value) && !has(as_object, "'k'");
  const bool text_printed = has(as_text, value) && !has(as_text, "\\\"k\\\"");
  if (object_printed != text_printed) {
    tool_arguments_ = object_printed ? ToolArguments::kObject : ToolArguments::kText;
  }

  Conversation silent = call_with({{"k", value}});
  silent.messages[1].erase("content");
  needs_content_ = as_object && !rendered(silent);
}

std::vector<TextPiece> pieces_of(const jinja::Rendered& text) {
  std::vector<TextPiece> pieces;
  size_t at = 0;
  const auto add = [&](size_t end, bool literal) {
    if (end > at) pieces.push_back({text.text.substr(at, end - at), literal});
    at = end;
  };
  for (const jinja::Mark& mark : text.marks) {
    add(mark.begin, false);
    add(mark.end, true);
  }
  add(text.text.size(), false);
  return pieces;
}

}  // namespace tessera::launch
