// The rows of one file of any kind.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "launch/data/files/known_formats.h"
#include "launch/data/files/row_visitor.h"

namespace tessera::launch {

/// Visits the rows of a file in order, without the first `skip`, until `visit` returns false. Name
/// and content tell the kind where `kind` is empty. Returns the number of rows up to the last one
/// visited, skipped ones included. Error where the file has no rows.
int64_t read_row_file(const std::string& path, std::optional<FileKind> kind, int64_t skip,
                      RowVisitor visit);

}  // namespace tessera::launch
