#include "launch/run/chat_session.h"

#include <algorithm>
#include <bit>

#include "launch/data/conversations.h"
#include "launch/run/answer_text.h"
#include "launch/run/prompt_reader.h"
#include "runtime/core/error.h"
#include "runtime/io/file.h"
#include "runtime/io/folder.h"

namespace tessera::launch {
namespace {

using Json = Conversation::Json;

bool is_from(const Json& message, std::string_view role) {
  return message.value("role", "") == role;
}

bool has_system(const Json& messages) {
  return !messages.empty() && is_from(messages.front(), "system");
}

/// As a file has it: what is neither tools nor documents is for the template.
Json file_of(const Conversation& conversation) {
  Json file = {{"messages", conversation.messages}};
  for (const auto& [name, value] : conversation.variables.items()) {
    const bool own = name == "tools" || name == "documents";
    (own ? file : file[kTemplateVariables])[name] = value;
  }
  return file;
}

}  // namespace

ChatSession::ChatSession(const OpenedModel& opened, AnsweringModel& model, const ChatTemplate& chat,
                         GeneratorOptions how, std::span<const std::string> stops)
    : opened_(opened), model_(model), chat_(chat), how_(std::move(how)), stops_(stops) {}

ChatAnswer ChatSession::say(const std::string& message, const ChatEvents& events) {
  const Json before = conversation_.messages;
  conversation_.messages.push_back({{"role", "user"}, {"content", message}});
  try {
    ChatAnswer made = answer(events);
    if (!made.kept) conversation_.messages = before;
    return made;
  } catch (...) {
    conversation_.messages = before;
    throw;
  }
}

ChatAnswer ChatSession::answer(const ChatEvents& events) {
  const std::vector<int32_t> ids = prompt(conversation_);
  const int64_t limit = position_limit(opened_.checkpoint().spec());
  if (int64_t(ids.size()) > limit) {
    fail(
        "the conversation has {} tokens, more than the model's {} positions; a shorter message, "
        "/undo or /reset makes room",
        ids.size(), limit);
  }
  check_prompt(ids, opened_.checkpoint().spec(), "the conversation");
  Generator& generator = generator_for(ids.size());
  AnswerText words(opened_.tokenizer(), stops_);
  std::string text;
  const auto add = [&](const std::string& more) {
    text += more;
    if (!more.empty()) events.text(more);
  };
  ChatAnswer out;
  events.begin(opens_thought(ids));
  const uint64_t sequence = asked_++;
  bool given = false;
  const auto next = [&]() -> std::optional<AnswerRequest> {
    if (given) return std::nullopt;
    given = true;
    return AnswerRequest{sequence, ids};
  };
  generator.run(next, {[&](uint64_t, int32_t id) { add(words.push(id)); },
                       [&](uint64_t, Finish finish) { out.finish = finish; },
                       [&](uint64_t) { return words.stopped(); }});
  add(words.finish());
  out.tokens = words.tokens();
  out.context = int64_t(ids.size()) + out.tokens;
  out.kept = out.finish || !text.empty();
  if (out.kept) conversation_.messages.push_back({{"role", "assistant"}, {"content", text}});
  return out;
}

bool ChatSession::unanswered() const {
  const Json& messages = conversation_.messages;
  return !messages.empty() && !is_from(messages.back(), "assistant") &&
         !is_from(messages.back(), "system");
}

void ChatSession::undo() {
  Json& messages = conversation_.messages;
  size_t last = messages.size();
  while (last > 0 && !is_from(messages[last - 1], "user")) --last;
  if (last == 0) fail("/undo: there is no message to take back");
  messages.erase(messages.begin() + std::ptrdiff_t(last) - 1, messages.end());
}

void ChatSession::reset() {
  Json& messages = conversation_.messages;
  messages.erase(messages.begin() + (has_system(messages) ? 1 : 0), messages.end());
  asked_ = 0;
}

void ChatSession::set_system(const std::string& text) {
  Json& messages = conversation_.messages;
  if (has_system(messages)) messages.erase(messages.begin());
  if (text.empty()) return;
  messages.insert(messages.begin(), Json{{"role", "system"}, {"content", text}});
}

std::string ChatSession::system() const {
  const Json& messages = conversation_.messages;
  if (!has_system(messages) || !messages.front().contains("content")) return "";
  const Json& content = messages.front()["content"];
  return content.is_string() ? content.get<std::string>() : content.dump();
}

void ChatSession::save(const std::string& path) const {
  if (io::exists(path) && !io::is_folder(path)) {
    try {
      read_conversations(path);
    } catch (const Error&) {
      fail("{} is there already and holds no conversation; choose another name", path);
    }
  }
  io::write_file(path, file_of(conversation_).dump(2) + "\n");
}

void ChatSession::load(const std::string& path) {
  Conversations file = read_conversations(path);
  if (file.lines) fail("{}: JSON lines, expected one conversation", path);
  if (file.list.front().continues) {
    fail(
        "{}: continue_final_message: chat answers a message of the user; generate goes on with "
        "one of the assistant",
        path);
  }
  Conversation& conversation = file.list.front().conversation;
  prompt(conversation);
  conversation_ = std::move(conversation);
  asked_ = 0;
}

void ChatSession::use_adapter(bool on) {
  if (!has_adapter()) fail("/adapter: there is none; start with --adapter PATH");
  if (on == uses_adapter()) return;
  generator_.reset();
  model_.use_adapter(on);
}

std::vector<std::string> ChatSession::take_notes() { return std::exchange(notes_, {}); }

std::vector<int32_t> ChatSession::prompt(const Conversation& conversation) {
  RowRemarks remarks;
  remarks.of_config = false;
  ChatRequest request{.conversation = conversation, .where = "the conversation"};
  std::vector<int32_t> ids = prompt_of(std::move(request), chat_, opened_.tokenizer(), remarks);
  for (const std::string& line : remarks.lines()) {
    if (told_.insert(line).second) notes_.push_back(line);
  }
  return ids;
}

bool ChatSession::opens_thought(std::span<const int32_t> prompt) const {
  constexpr size_t kLast = 16;  // tokens that <think> and a line end have at most
  const auto last = prompt.last(std::min(prompt.size(), kLast));
  const std::string text = opened_.tokenizer().decode(last, false);
  return std::string_view(text).substr(0, text.find_last_not_of(" \n") + 1).ends_with("<think>");
}

Generator& ChatSession::generator_for(size_t prompt_tokens) {
  constexpr size_t kLeast = 1024;
  if (generator_ && prompt_tokens <= room_) return *generator_;
  const auto limit = size_t(position_limit(opened_.checkpoint().spec()));
  room_ = std::min(limit, std::max({kLeast, std::bit_ceil(prompt_tokens), room_}));
  generator_.reset();  // before there is a second one
  return generator_.emplace(model_.decoder(), how_, Generator::Room{1, int64_t(room_)});
}

}  // namespace tessera::launch
