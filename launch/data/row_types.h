// The row types of training data: which columns each has, and how a row becomes text.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "launch/data/dataset.h"

namespace tessera::launch {

/// The type whose columns `row` has; Error (naming `where`) when none or several fit.
std::string infer_row_type(const nlohmann::json& row, std::string_view where);

/// Tokens and labels of one row. `where` is file:line, for errors.
Sample encode_row(const nlohmann::json& row, const std::string& type, bool train_on_inputs,
                  const RowEncoder& encoder, std::string_view where);

/// The messages of a chat_template row ("messages" with role/content, or "conversations" with
/// from/value).
std::vector<Message> messages_of(const nlohmann::json& row, std::string_view where);

}  // namespace tessera::launch
