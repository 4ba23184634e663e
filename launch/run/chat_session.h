// A conversation with a model: its messages, and an answer to each of the user's. The whole
// conversation is rendered for each answer, so that it is what `generate --messages` makes of the
// same messages; keys and values of what did not change stay in the cache.
#pragma once

#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "launch/run/answering_model.h"
#include "launch/run/generator.h"
#include "launch/text/chat_template.h"
#include "runtime/core/function_ref.h"

namespace tessera::launch {

/// What happens while an answer is made.
struct ChatEvents {
  /// `thinking`: the prompt has opened a thought (<think>), which the answer goes on with.
  FunctionRef<void(bool thinking)> begin;
  FunctionRef<void(std::string_view text)> text;
};

/// How an answer ended.
struct ChatAnswer {
  std::optional<Finish> finish;  // nothing: a signal stopped it
  int64_t tokens = 0;
  int64_t context = 0;  // tokens of the conversation with the answer
  bool kept = true;     // false: it was stopped before there was any text, and so was its message
};

class ChatSession {
 public:
  /// All but `how` outlive the session.
  ChatSession(const OpenedModel& opened, AnsweringModel& model, const ChatTemplate& chat,
              GeneratorOptions how, std::span<const std::string> stops);

  /// Adds a message of the user and answers it. After an Error the conversation is as before.
  ChatAnswer say(const std::string& message, const ChatEvents& events);
  /// Answers the last message of a conversation where unanswered(). Error where the conversation
  /// does not fit into the model's positions, or the chat template refuses it.
  ChatAnswer answer(const ChatEvents& events);
  bool unanswered() const;

  /// Takes back the last message of the user and all behind it. Error where there is none.
  void undo();
  /// Begins anew under the same system prompt.
  void reset();
  /// Puts it before the conversation; "" takes it away.
  void set_system(const std::string& text);
  std::string system() const;
  size_t messages() const { return conversation_.messages.size(); }

  /// The conversation as a file that load() and `generate --messages` read, over an older one if
  /// there is one. Error where another kind of file has that name.
  void save(const std::string& path) const;
  /// Error, and no change, where the file is not one conversation that the template takes.
  void load(const std::string& path);

  bool has_adapter() const { return opened_.adapter().has_value(); }
  bool uses_adapter() const { return model_.uses_adapter(); }
  /// Error without an adapter.
  void use_adapter(bool on);
  /// What of the messages a user should know and has not been told.
  std::vector<std::string> take_notes();

 private:
  std::vector<int32_t> prompt(const Conversation& conversation);
  bool opens_thought(std::span<const int32_t> prompt) const;
  /// Room in the cache for a prompt and its answer.
  Generator& generator_for(size_t prompt_tokens);

  const OpenedModel& opened_;
  AnsweringModel& model_;
  const ChatTemplate& chat_;
  const GeneratorOptions how_;
  const std::span<const std::string> stops_;
  Conversation conversation_;
  uint64_t asked_ = 0;  // answers since the beginning: keys the draws of the next
  std::optional<Generator> generator_;
  size_t room_ = 0;  // tokens of the longest prompt that generator_ takes
  std::vector<std::string> notes_;
  std::set<std::string> told_;
};

}  // namespace tessera::launch
