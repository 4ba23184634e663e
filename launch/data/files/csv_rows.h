// Rows of a table in text. The header names the columns; every cell is a string.
#pragma once

#include "launch/data/files/row_visitor.h"
#include "launch/data/files/text_chunks.h"

namespace tessera::launch {

/// Hands all rows of the table to `rows`. The delimiter is a tab in a .tsv or .tab file; elsewhere
/// the header tells it. Error naming the line for a row that has more or fewer cells than there are
/// columns, and for columns with no name or the same name.
void read_csv_rows(TextChunks& text, RowCounter& rows);

}  // namespace tessera::launch
