// Rows as anybody stores them, in our own columns: by the settings of their data set (field_*,
// message_property_mappings, roles, format), and by the names that data sets commonly use.
#pragma once

#include <string>
#include <string_view>

#include "launch/config/config.h"
#include "launch/data/row_keys.h"

namespace tessera::launch {

/// The row with the columns that infer_row_type and encode_row know; the row itself where the
/// settings and the columns ask for nothing. A column that nobody asks for stays, so that it is
/// named as unused. `where` is file:line. Error beginning with `where` when a column that the
/// settings name is missing (it lists those there are), or its value is not of the kind expected.
RowJson mapped_row(RowJson row, const DatasetConfig& dataset, std::string_view where);

/// What mapped_row takes the columns of `row` for where the settings do not say it, to be told once
/// for a data set: "question is read as user, answer as assistant". Empty for our own columns.
std::string columns_guessed(const RowJson& row, const DatasetConfig& dataset);

}  // namespace tessera::launch
