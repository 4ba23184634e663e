// The files of a data set, by split.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launch/data/files/data_card.h"
#include "launch/data/files/known_formats.h"
#include "launch/data/files/row_source.h"
#include "launch/data/files/split_names.h"

namespace tessera::launch {

struct FoundFiles {
  std::vector<SplitFiles> splits;  // none is empty
  std::optional<FileKind> kind;    // as it was written; none: each file tells
};

/// A folder has the splits of its README.md, else those that the names of its files tell. Files
/// that are named, one by one or by patterns, are "train". Error with the cure where nothing is
/// found.
FoundFiles find_row_files(const RowFiles& where);

/// Whether a file of this name may hold rows, and neither describes a data set nor stands beside
/// one as a note or a licence.
bool may_hold_rows(const std::string& file);

/// The config that is called where.name; without a name the default, or the only one. Error that
/// names those there are.
const CardConfig& choose_config(const std::vector<CardConfig>& configs, const RowFiles& where);

}  // namespace tessera::launch
