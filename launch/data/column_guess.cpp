#include "launch/data/column_guess.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "launch/data/message_mapping.h"
#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

using json = RowJson;

struct OwnColumns {
  RowType type;
  std::string_view first, second = {};
};
constexpr std::array<OwnColumns, 7> kOwn = {{
    {RowType::kTokenized, "input_ids"},
    {RowType::kChatTemplate, "messages"},
    {RowType::kChatTemplate, "conversations"},
    {RowType::kAlpaca, "instruction", "output"},
    {RowType::kPromptCompletion, "prompt", "completion"},
    {RowType::kCompletion, "text"},
    {RowType::kInputOutput, "segments"},
}};

/// Questions and answers, with the type that each is when nothing else is said.
constexpr std::array<ColumnGuess, 5> kPairs = {{
    {RowType::kChatTemplate, "question", "answer"},
    {RowType::kChatTemplate, "query", "response"},
    {RowType::kAlpaca, "instruction", "response"},
    {RowType::kPromptCompletion, "prompt", "response"},
    {RowType::kPromptCompletion, "prompt", "answer"},
}};

/// A column of turns, each with what both sides say.
constexpr std::string_view kTurns = "conversation";

/// Columns that a question cannot do without: only the user knows where they belong.
constexpr std::string_view kContext[] = {"context",  "passage", "article",
                                         "document", "choices", "options"};

bool has_text(const json& row, std::string_view key) {
  const auto found = row.find(key);
  return found != row.end() && found->is_string();
}

bool fits(const json& row, const OwnColumns& own) {
  return has_value(row, own.first) && (own.second.empty() || has_value(row, own.second));
}

/// Which pairs a row may hold: our own names are a guess where the row is said to be of another
/// type.
std::vector<ColumnGuess> pairs_for(std::optional<RowType> type) {
  std::vector<ColumnGuess> pairs(kPairs.begin(), kPairs.end());
  if (type == RowType::kChatTemplate) {
    for (const OwnColumns& own : kOwn) {
      if (!own.second.empty()) pairs.push_back({own.type, own.first, own.second});
    }
  }
  return pairs;
}

bool takes_guess(std::optional<RowType> type) {
  return !type || type == RowType::kChatTemplate || type == RowType::kAlpaca ||
         type == RowType::kPromptCompletion;
}

void add_message(json& messages, const char* role, json content) {
  messages.push_back({{"role", role}, {"content", std::move(content)}});
}

/// The pairs of an earlier question and its answer.
void add_history(json& messages, const json& history, std::string_view where) {
  if (!history.is_array()) fail("{}: \"history\" must be an array of pairs", where);
  for (const json& pair : history) {
    if (!pair.is_array() || pair.size() != 2 || !pair[0].is_string() || !pair[1].is_string()) {
      fail("{}: \"history\" must hold pairs of texts, a question and its answer", where);
    }
    add_message(messages, "user", pair[0]);
    add_message(messages, "assistant", pair[1]);
  }
}

/// As LLaMA-Factory has it: the input follows the instruction on a line of its own.
json messages_of_pair(const json& row, const ColumnGuess& guess, std::string_view where) {
  for (const std::string_view key : {guess.question, guess.answer}) {
    if (has_value(row, key)) continue;
    fail("{}: there is no column \"{}\" to make a conversation of; the columns are {}", where, key,
         names_in(row));
  }
  json messages = json::array();
  if (says_something(row, "history")) add_history(messages, row.at("history"), where);
  std::vector<std::string> question;
  for (const std::string_view key : {guess.question, std::string_view("input")}) {
    if (!has_value(row, key)) continue;
    const auto& text = row.at(std::string(key));
    if (!text.is_string()) fail("{}: \"{}\" must be a string", where, key);
    if (!text.get_ref<const std::string&>().empty()) question.push_back(text.get<std::string>());
  }
  add_message(messages, "user", fmt::format("{}", fmt::join(question, "\n")));
  add_message(messages, "assistant", row.at(std::string(guess.answer)));
  return messages;
}

/// Of turns that hold what the human and the assistant say; other lists are left as they are.
json messages_of_turns(const json& turns) {
  json messages = json::array();
  for (const json& turn : turns) {
    if (!turn.is_object() || !has_text(turn, "human") || !has_text(turn, "assistant")) return turns;
    add_message(messages, "user", turn.at("human"));
    add_message(messages, "assistant", turn.at("assistant"));
  }
  return messages;
}

/// Gives a column another name.
void rename(json& row, std::string_view from, const char* to) {
  const auto found = row.find(from);
  json value = std::move(*found);
  row.erase(found);
  put_under(row, to, std::move(value));
}

}  // namespace

std::vector<RowType> types_of_columns(const json& row) {
  std::vector<RowType> types;
  for (const OwnColumns& own : kOwn) {
    if (fits(row, own) && std::ranges::count(types, own.type) == 0) types.push_back(own.type);
  }
  return types;
}

std::optional<ColumnGuess> guess_columns(const json& row, std::optional<RowType> type) {
  if (!takes_guess(type)) return std::nullopt;
  const std::vector<RowType> own = types_of_columns(row);
  if (type ? std::ranges::count(own, *type) > 0 : !own.empty()) return std::nullopt;
  std::vector<ColumnGuess> found;
  const auto turns = row.find(kTurns);
  const bool chat = type.value_or(RowType::kChatTemplate) == RowType::kChatTemplate;
  if (chat && turns != row.end() && turns->is_array()) {
    found.push_back({RowType::kChatTemplate, kTurns});
  }
  for (const ColumnGuess& pair : pairs_for(type)) {
    if (!has_text(row, pair.question) || !has_text(row, pair.answer)) continue;
    found.push_back({type.value_or(pair.type), pair.question, pair.answer});
  }
  const bool context =
      std::ranges::any_of(kContext, [&](std::string_view key) { return row.contains(key); });
  if (found.size() != 1 || (context && !found[0].answer.empty())) return std::nullopt;
  return found[0];
}

std::string describe(const ColumnGuess& guess) {
  if (guess.answer.empty()) return fmt::format("{} is read as messages", guess.question);
  const auto names = [&]() -> std::pair<std::string_view, std::string_view> {
    if (guess.type == RowType::kChatTemplate) return {"user", "assistant"};
    if (guess.type == RowType::kAlpaca) return {"instruction", "output"};
    return {"prompt", "completion"};
  }();
  return fmt::format("{} is read as {}, {} as {}", guess.question, names.first, guess.answer,
                     names.second);
}

void apply_guess(json& row, const ColumnGuess& guess, std::string_view where) {
  if (guess.answer.empty()) {
    json messages = messages_of_turns(row.at(std::string(guess.question)));
    row.erase(std::string(guess.question));
    put_under(row, "messages", std::move(messages));
    return;
  }
  if (guess.type == RowType::kChatTemplate) {
    json messages = messages_of_pair(row, guess, where);
    for (const std::string_view key :
         {guess.question, guess.answer, std::string_view("input"), std::string_view("history")}) {
      row.erase(std::string(key));
    }
    put_under(row, "messages", std::move(messages));
    return;
  }
  const bool alpaca = guess.type == RowType::kAlpaca;
  const char* question = alpaca ? "instruction" : "prompt";
  const char* answer = alpaca ? "output" : "completion";
  if (guess.question != question) rename(row, guess.question, question);
  if (guess.answer != answer) rename(row, guess.answer, answer);
}

}  // namespace tessera::launch
