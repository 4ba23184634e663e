#include "launch/data/row_mapping.h"

#include <optional>
#include <utility>
#include <vector>

#include "launch/config/text_format.h"
#include "launch/data/column_guess.h"
#include "launch/data/message_mapping.h"
#include "runtime/core/error.h"
#include "runtime/io/json.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

using json = RowJson;

/// A setting that names a column.
struct ColumnSetting {
  const char* setting;
  const std::string& theirs;
  const char* ours;
};

/// Without format, the texts of a prompt_completion go by its own names.
std::vector<ColumnSetting> column_settings(const DatasetConfig& dataset) {
  const bool pair = dataset.type == RowType::kPromptCompletion && dataset.format.empty();
  return {{"field", dataset.field, "text"},
          {"field_messages", dataset.field_messages, "messages"},
          {"field_tools", dataset.field_tools, "tools"},
          {"field_system", dataset.field_system, "system"},
          {"field_instruction", dataset.field_instruction, pair ? "prompt" : "instruction"},
          {"field_input", dataset.field_input, "input"},
          {"field_output", dataset.field_output, pair ? "completion" : "output"},
          {"field_history", dataset.field_history, "history"}};
}

/// Gives the columns that the settings name our own names. All are taken out first: two may change
/// places.
void rename_columns(json& row, const DatasetConfig& dataset, std::string_view where) {
  std::vector<std::pair<const char*, json>> values;
  for (const auto& [setting, theirs, ours] : column_settings(dataset)) {
    if (theirs.empty() || theirs == ours) continue;
    const auto found = row.find(theirs);
    if (found == row.end()) {
      fail("{}: there is no column \"{}\", which {} names; the columns are {}", where,
           io::printable(theirs), setting, names_in(row));
    }
    values.emplace_back(ours, std::move(*found));
    row.erase(found);
    // Who learns the better of two answers needs the other no more.
    if (theirs == "chosen") set_aside(row, "rejected");
  }
  for (auto& [ours, value] : values) put_under(row, ours, std::move(value));
}

std::string text_of(const json& row, const char* key, std::string_view where) {
  if (!has_value(row, key)) return {};
  const json& value = row.at(key);
  if (!value.is_string()) fail("{}: \"{}\" must be a string", where, key);
  return value.get<std::string>();
}

/// Lists that a table keeps as JSON text.
void parse_cells(json& row, std::string_view where) {
  for (const char* key : {"messages", "conversations", "conversation", "history"}) {
    const auto found = row.find(key);
    if (found == row.end() || !found->is_string()) continue;
    const std::string& text = found->get_ref<const std::string&>();
    if (text.starts_with('[')) {
      *found = io::parse_ordered_json(std::string(text), fmt::format("{}: \"{}\"", where, key));
    }
  }
}

/// Prompt and completion as axolotl makes them of an instruction, an input and an output.
void fill_formats(json& row, const DatasetConfig& dataset, std::string_view where) {
  for (const char* key : {"instruction", "output"}) {
    if (!has_value(row, key)) {
      fail("{}: format needs a column \"{}\"; the columns are {}; field_{} names another one",
           where, key, names_in(row), key);
    }
  }
  const std::string instruction = text_of(row, "instruction", where),
                    input = text_of(row, "input", where), system = text_of(row, "system", where);
  std::string prompt;
  if (!system.empty()) {
    const Placed place[] = {{"system", system}};
    prompt = dataset.system_format.empty() ? system : filled(dataset.system_format, place);
  }
  const bool short_form = input.empty() && !dataset.no_input_format.empty();
  const Placed places[] = {{"instruction", instruction}, {"input", input}};
  prompt += filled(short_form ? dataset.no_input_format : dataset.format, places);
  json completion = text_of(row, "output", where);
  for (const char* key : {"instruction", "input", "output", "system"}) row.erase(key);
  put_under(row, "prompt", std::move(prompt));
  put_under(row, "completion", std::move(completion));
}

/// The system text of rows that have none, neither in a column nor as their first message.
void add_system_prompt(json& row, const std::string& system_prompt) {
  if (system_prompt.empty() || says_something(row, "system") ||
      says_something(row, "system_prompt")) {
    return;
  }
  const auto messages = row.find("messages");
  if (messages != row.end() && messages->is_array() && !messages->empty()) {
    const json& first = messages->front();
    if (first.is_object() && first.value("role", json()) == "system") return;
  }
  row["system"] = system_prompt;
}

/// Columns that the settings name as a question and its answer are so, whatever else there is.
std::optional<ColumnGuess> guess_for(const json& row, const DatasetConfig& dataset) {
  const bool named = !dataset.field_instruction.empty() && !dataset.field_output.empty();
  if (dataset.type == RowType::kChatTemplate && named) {
    return ColumnGuess{RowType::kChatTemplate, "instruction", "output"};
  }
  return guess_columns(row, dataset.type);
}

}  // namespace

json mapped_row(json row, const DatasetConfig& dataset, std::string_view where) {
  if (!row.is_object() || dataset.type == RowType::kTokenized) return row;
  rename_columns(row, dataset, where);
  if (!dataset.format.empty()) {
    add_system_prompt(row, dataset.system_prompt);
    fill_formats(row, dataset, where);
    return row;
  }
  parse_cells(row, where);
  if (const auto guess = guess_for(row, dataset)) apply_guess(row, *guess, where);
  map_messages(row, dataset, where);
  add_system_prompt(row, dataset.system_prompt);
  return row;
}

std::string columns_guessed(const json& row, const DatasetConfig& dataset) {
  if (!row.is_object() || !dataset.format.empty()) return {};
  for (const ColumnSetting& column : column_settings(dataset)) {
    if (!column.theirs.empty()) return {};
  }
  const auto guess = guess_columns(row, dataset.type);
  return guess ? describe(*guess) : std::string();
}

}  // namespace tessera::launch
