#include "launch/data/conversations.h"

#include <algorithm>
#include <cstdio>

#include "launch/data/files/known_formats.h"
#include "launch/data/files/lines.h"
#include "launch/data/messages.h"
#include "runtime/core/error.h"
#include "runtime/io/file.h"
#include "runtime/io/json.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

using json = RowJson;

constexpr size_t kMaxInput = size_t{1} << 30;
constexpr char kContinues[] = "continue_final_message";

/// Takes a flag out of the object.
bool take_flag(json& object, const char* key, const std::string& where) {
  const auto found = object.find(key);
  if (found == object.end()) return false;
  if (!found->is_boolean()) fail("{}: \"{}\" must be true or false", where, key);
  const bool value = found->get<bool>();
  object.erase(found);
  return value;
}

ChatRequest request_of(json value, const std::string& where, RowRemarks& remarks) {
  if (value.is_array()) value = json{{"messages", std::move(value)}};
  if (!value.is_object()) {
    fail("{}: expected a list of messages or an object {{\"messages\": [...]}}", where);
  }
  ChatRequest request;
  request.where = where;
  request.add_generation_prompt = take_flag(value, "add_generation_prompt", where);
  const auto continues = value.find(kContinues);
  if (continues != value.end() && continues->is_string()) {
    request.continues = continues->get<std::string>();
    value.erase(continues);
  } else if (take_flag(value, kContinues, where)) {
    request.continues = "content";
  }
  request.conversation = conversation_of(value, where, remarks);
  return request;
}

/// Stands behind the last message while it is rendered, as in transformers: what a template strips
/// off the end of a content is then not the end that is to be continued.
constexpr std::string_view kEndTag = "CONTINUE_FINAL_MESSAGE_TAG ";

/// Where the text of a message's key ends: in a list of parts, in the last of them.
json* end_of_text(json& message, const std::string& key) {
  const auto found = message.find(key);
  if (found == message.end() || !found->is_array()) {
    return found != message.end() && found->is_string() ? &*found : nullptr;
  }
  json* last = nullptr;
  for (json& part : *found) {
    if (part.is_object() && part.contains("text") && part["text"].is_string()) {
      last = &part["text"];
    }
  }
  return last;
}

Conversation with_end_tag(Conversation conversation, const std::string& key,
                          const std::string& where) {
  json& message = conversation.messages.back();
  const json* text = end_of_text(message, key);
  if (!text) fail("{}: the last message has no \"{}\" to go on from", where, io::printable(key));
  std::vector<std::string> keys = {key};
  // Templates read a thought under one of its names, so that the tag is behind all of them.
  for (const std::string_view other : kReasoningKeys) {
    if (is_reasoning_key(key) && other != key && message.value(other, json()) == *text)
      keys.emplace_back(other);
  }
  for (const std::string& each : keys) {
    end_of_text(message, each)->get_ref<std::string&>() += kEndTag;
  }
  return conversation;
}

/// The text before the tag.
jinja::Rendered cut_at_end_tag(jinja::Rendered text, const std::string& where) {
  const std::string_view word = kEndTag.substr(0, kEndTag.size() - 1);
  const size_t at = text.text.rfind(word);
  if (at == std::string::npos) fail("{}: the template leaves out the last message", where);
  const bool keeps_blanks = text.text.compare(at, kEndTag.size(), kEndTag) == 0;
  text.text.resize(at);
  if (!keeps_blanks) text.text.resize(text.text.find_last_not_of(" \t\r\n") + 1);
  while (!text.marks.empty() && text.marks.back().begin >= text.text.size()) text.marks.pop_back();
  if (!text.marks.empty()) {
    text.marks.back().end = std::min(text.marks.back().end, text.text.size());
  }
  return text;
}

/// Whether the first line that is not blank is a whole JSON value and more follows it.
bool has_lines(std::string_view text) {
  const size_t begin = text.find_first_not_of(kBlank);
  const size_t end = text.find('\n', begin);
  if (begin == text.npos || text.find_first_not_of(kBlank, end) == text.npos) return false;
  return json::accept(text.substr(begin, end - begin));
}

}  // namespace

std::string read_input(const std::string& path) {
  if (path != "-") return io::read_file(path, kMaxInput);
  std::string text;
  char chunk[1 << 16];
  while (const size_t n = std::fread(chunk, 1, sizeof chunk, stdin)) {
    text.append(chunk, n);
    if (text.size() > kMaxInput) fail("standard input is larger than 1 GiB");
  }
  if (std::ferror(stdin)) fail("cannot read standard input");
  return text;
}

std::vector<std::string> Conversations::notes() const {
  std::vector<std::string> out;
  for (const std::string& line : remarks.lines()) out.push_back(fmt::format("{}: {}", path, line));
  return out;
}

Conversations read_conversations(const std::string& path) {
  const std::string bytes = read_input(path);
  const std::string_view text = plain_text(bytes, path);
  if (text.find_first_not_of(kBlank) == text.npos) fail("{}: the file is empty", path);
  Conversations out;
  out.path = path;
  out.remarks.of_config = false;
  out.lines = path.ends_with(".jsonl") || has_lines(text);
  if (!out.lines) {
    out.list.push_back(request_of(io::parse_ordered_json(text, path), path, out.remarks));
  } else {
    for_each_line(text, path, [&](std::string_view line, const std::string& where) {
      out.list.push_back(request_of(io::parse_ordered_json(line, where), where, out.remarks));
    });
  }
  return out;
}

ConversationFile::ConversationFile(const std::string& path) : path_(path) {
  if (inner_extension(path) != ".jsonl") whole_ = read_conversations(path);
}

std::optional<ChatRequest> ConversationFile::next(RowRemarks& remarks) {
  if (given_ == 0 && !whole_) {
    text_ = std::make_unique<TextChunks>(path_);
    reader_.emplace(*text_);
  }
  std::string_view line;
  if (whole_ ? given_ == whole_->list.size() : !reader_->next(line)) {
    if (given_ == 0) fail("{}: the file is empty", path_);
    given_ = 0;
    return std::nullopt;
  }
  ++given_;
  if (whole_) {
    if (given_ == 1) remarks.add(whole_->remarks);
    return whole_->list[given_ - 1];
  }
  const std::string where = reader_->where();
  return request_of(io::parse_ordered_json(line, where), where, remarks);
}

jinja::Rendered render(const ChatRequest& request, const ChatTemplate& chat, RowRemarks& remarks) {
  note_unread_keys(request.conversation, chat, remarks);
  try {
    if (request.continues) {
      const Conversation tagged =
          with_end_tag(request.conversation, *request.continues, request.where);
      return cut_at_end_tag(chat.chat(tagged).render(request.add_generation_prompt), request.where);
    }
    return chat.chat(request.conversation).render(request.add_generation_prompt);
  } catch (const jinja::TemplateRefusal& refusal) {
    fail("{}: the chat template refuses the conversation: {}", request.where, refusal.what());
  } catch (const Error& error) {
    fail("{}: {}", request.where, error.what());
  }
}

}  // namespace tessera::launch
