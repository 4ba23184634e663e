// The table of the keys that an entry of `datasets` may have: each with its type and help, once.
// The reader, the dump, the help text and the reference page walk it. How other trainers spell them
// is beside it, in launch/config/dataset_spellings.h.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "launch/config/flags_schema.h"

namespace tessera::launch {

struct DatasetKey {
  std::string_view name;
  std::string_view help;
  std::string type;  // in words
  std::string notes = {};
  Schema schema = {};  // of its value
  std::vector<std::string_view> aliases = {};
  bool is_map = false;  // several spellings may each give a part of its value
  std::function<bool(DatasetConfig&, const Setting&)> read = {};  // false with a fault told
  std::function<std::string(const DatasetConfig&)> write = {};    // "null" where it is left out
};

/// In the order of the dump.
const std::vector<DatasetKey>& dataset_keys();

/// By name or alias; null when there is none.
const DatasetKey* find_dataset_key(std::string_view key);

/// Puts {ours, theirs} into a map of names. A fault where the map has another name for ours.
template <class Theirs>
bool put_name(NameMap<Theirs>& map, const std::string& ours, const Theirs& theirs,
              const Setting& setting) {
  for (const auto& [key, value] : map) {
    if (key != ours) continue;
    if (value != theirs) setting.fault("{} is given another name already; keep one", shown(ours));
    return value == theirs;
  }
  map.emplace_back(ours, theirs);
  return true;
}

}  // namespace tessera::launch
