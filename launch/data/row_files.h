// Files of rows as JSON values: JSON lines, or one JSON array. What the file is instead
// (compressed, a table, another encoding, a folder) is said by name.
#pragma once

#include <string>
#include <string_view>

#include "launch/data/row_keys.h"
#include "runtime/core/function_ref.h"

namespace tessera::launch {

/// The text without a UTF-8 byte order mark. Error naming `path` and the cure when the bytes are no
/// UTF-8 text but UTF-16 or a file format that is known by its first bytes.
std::string_view plain_text(std::string_view bytes, const std::string& path);

/// Calls `visit(row, where)` for every row of a file; `where` is file:line, or file and number of
/// the row in an array. Error when the file is missing, empty, or no JSON of these two shapes.
void for_each_row(const std::string& path,
                  FunctionRef<void(const RowJson& row, const std::string& where)> visit);

/// Calls `visit(line, where)` for every line of `text` that is not blank.
void for_each_line(std::string_view text, const std::string& path,
                   FunctionRef<void(std::string_view line, const std::string& where)> visit);

}  // namespace tessera::launch
