// The row types of training data: which columns each has, and how a row becomes tokens and labels.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "launch/data/dataset.h"
#include "launch/data/row_keys.h"

namespace tessera::launch {

/// The type whose columns `row` has; Error (naming `where`) when none or several fit.
RowType infer_row_type(const RowJson& row, std::string_view where);

/// Tokens and labels of one row: one sample, or several where a tokenized row holds several.
/// `where` is file:line, for errors.
std::vector<Sample> encode_row(const RowJson& row, RowType type, const Config& config,
                               const RowEncoder& encoder, std::string_view where,
                               RowRemarks& remarks);

}  // namespace tessera::launch
