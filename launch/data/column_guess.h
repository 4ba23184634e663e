// Which type of row the columns fit, by our own names and by those that data sets commonly use.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "launch/config/config.h"
#include "launch/data/row_keys.h"

namespace tessera::launch {

/// The types whose own columns the row has, each once.
std::vector<RowType> types_of_columns(const RowJson& row);

/// A row of a question and its answer, or of a conversation, under other names than our own.
struct ColumnGuess {
  RowType type;
  std::string_view question;     // or the conversation
  std::string_view answer = {};  // empty: `question` is a whole conversation
};

/// Nothing where the columns are our own, or fit several or no such names. `type` is what the row
/// is said to be, if it is.
std::optional<ColumnGuess> guess_columns(const RowJson& row, std::optional<RowType> type);

/// In words: "question is read as user, answer as assistant".
std::string describe(const ColumnGuess& guess);

/// The row with our own columns in the place of those of the guess. `where` is file:line; Error
/// beginning with it where a column is missing or an earlier turn is no pair of texts.
void apply_guess(RowJson& row, const ColumnGuess& guess, std::string_view where);

}  // namespace tessera::launch
