// Data sets of the hub: which files of a repository a data set of the config needs, and where they
// are once they are fetched.
#pragma once

#include <string>
#include <vector>

#include "launch/config/config.h"
#include "launch/console/progress.h"
#include "launch/data/files/row_source.h"

namespace tessera::launch {

/// Where the rows of `dataset` are on this machine. Those of a repository of the hub are fetched
/// first, if they are not in its cache: the files of the splits that are asked for. Error with the
/// cure.
RowFiles find_dataset(const DatasetConfig& dataset, Console& console);

/// Of the names of a repository's files those that `where` asks for, and README.md; `folder` has
/// that README.md already. Error where there are none.
std::vector<std::string> files_of_dataset(const RowFiles& where, const std::string& folder,
                                          const std::vector<std::string>& names);

}  // namespace tessera::launch
