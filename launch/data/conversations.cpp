#include "launch/data/conversations.h"

#include <cstdio>

#include "launch/data/messages.h"
#include "launch/data/row_files.h"
#include "runtime/core/error.h"
#include "runtime/io/file.h"
#include "runtime/io/json.h"

namespace tessera::launch {
namespace {

using json = RowJson;

constexpr size_t kMaxInput = size_t{1} << 30;
constexpr std::string_view kBlank = " \t\r\n";

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
  request.continue_final_message = take_flag(value, "continue_final_message", where);
  request.conversation = conversation_of(value, where, remarks);
  return request;
}

/// The text up to the end of the last message.
jinja::Rendered cut_behind_last(jinja::Rendered text, const ChatRequest& request) {
  const int32_t last = int32_t(request.conversation.messages.size()) - 1;
  while (!text.marks.empty() && MessagePart::of(text.marks.back()).message != last) {
    text.marks.pop_back();
  }
  if (text.marks.empty()) {
    fail("{}: the template leaves nothing of the last message to go on from", request.where);
  }
  text.text.resize(text.marks.back().end);
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

jinja::Rendered render(const ChatRequest& request, const ChatTemplate& chat, RowRemarks& remarks) {
  note_unread_keys(request.conversation, chat, remarks);
  try {
    jinja::Rendered text = chat.chat(request.conversation).render(request.add_generation_prompt);
    if (!request.continue_final_message) return text;
    return cut_behind_last(std::move(text), request);
  } catch (const jinja::TemplateRefusal& refusal) {
    fail("{}: the chat template refuses the conversation: {}", request.where, refusal.what());
  } catch (const Error& error) {
    fail("{}: {}", request.where, error.what());
  }
}

}  // namespace tessera::launch
