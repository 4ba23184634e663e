// The configs that the README.md of a data set lists in its header: which files are which split.
#pragma once

#include <string>
#include <vector>

namespace tessera::launch {

struct CardSplit {
  std::string name;
  std::vector<std::string> patterns;  // of files, relative to the folder of the config
};

struct CardConfig {
  std::string name;
  std::string data_dir;           // relative to the folder; often empty
  std::vector<CardSplit> splits;  // empty: told by the names of files
  bool is_default = false;
};

/// Empty where there is no README.md, or where it lists none. Error naming file and line for a list
/// that cannot be read, and for files outside the folder.
std::vector<CardConfig> read_data_card(const std::string& folder);

}  // namespace tessera::launch
