// How other trainers spell the keys of a data set: names for our keys, names of types that stand
// for several of them, and keys that we have no counterpart for.
#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include "launch/config/foreign_keys.h"

namespace tessera::launch {

/// A key of theirs, "columns.prompt" for one inside a map, that stands for a key of ours or, as
/// "roles.user", for a part of one.
struct DatasetSpelling {
  std::string_view theirs;
  std::string_view ours;
};
const std::vector<DatasetSpelling>& dataset_spellings();
/// Empty when there is none.
std::string_view dataset_spelling(std::string_view theirs);

/// Whether the key is a map of theirs whose keys are spellings.
bool is_spelling_map(std::string_view key);

/// A type by the names that axolotl and others give it, and the columns and formats that come with
/// it unless the data set says otherwise.
struct NamedType {
  std::vector<std::string_view> names;
  RowType type;
  std::vector<std::pair<std::string DatasetConfig::*, std::string_view>> settings = {};
};
const std::vector<NamedType>& named_types();
/// Null when there is none.
const NamedType* find_named_type(std::string_view name);

/// Why a name of a type is refused, with the cure; empty where it is no name of anybody's.
std::string_view refused_type(std::string_view name);

/// Keys without a counterpart.
const std::vector<ForeignKey>& foreign_dataset_keys();
const ForeignKey* find_foreign_dataset_key(std::string_view key);

}  // namespace tessera::launch
