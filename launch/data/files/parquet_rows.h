// Rows of Parquet files, which Arrow's library reads: in a shared object that is opened with the
// first file, where the program was built with one.
#pragma once

#include <string>

#include "launch/data/row_keys.h"
#include "runtime/core/function_ref.h"

namespace tessera::launch {

/// Calls `visit(row, where)` for every row of a file until it returns false. The row's keys are the
/// columns in the file's order; `where` is "file: row N", from 1. A few hundred rows and a page of
/// each column are in memory at once. Error where the file is damaged, a column holds what has no
/// text, or this build reads no Parquet files.
void for_each_parquet_row(const std::string& path,
                          FunctionRef<bool(RowJson&& row, const std::string& where)> visit);

/// "Arrow 26.0.1", or why Parquet files cannot be read.
std::string describe_parquet();

}  // namespace tessera::launch
