// Tells the split of each file in a folder by the names of files and folders, as the datasets
// package does.
#pragma once

#include <string>
#include <vector>

namespace tessera::launch {

struct SplitFiles {
  std::string name;
  std::vector<std::string> files;
};

/// `files` are relative to the folder and sorted. The first of these rules that finds a file
/// decides: data/NAME-00000-of-00001.EXT is of the split NAME; a folder called train, validation,
/// test or the like is a split; a file with such a word in its name is of that split; all files are
/// "train".
std::vector<SplitFiles> splits_by_name(const std::vector<std::string>& files);

}  // namespace tessera::launch
