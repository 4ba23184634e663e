// Rows as JSON: JSON lines, or one array.
#pragma once

#include <string_view>

#include "launch/data/files/row_visitor.h"
#include "launch/data/files/text_chunks.h"

namespace tessera::launch {

/// Whether the text begins with a line that is a JSON object, or the beginning of a long one.
bool begins_with_json_line(std::string_view head);

/// Hands all rows of the text to `rows`. Error naming the line, or the number of the row, for a row
/// that is no JSON. A file with another shape is an Error that says what it looks like.
void read_json_rows(TextChunks& text, RowCounter& rows);

}  // namespace tessera::launch
