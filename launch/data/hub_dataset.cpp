#include "launch/data/hub_dataset.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "launch/data/files/data_card.h"
#include "launch/data/files/find_row_files.h"
#include "launch/data/files/glob.h"
#include "launch/hub/hub.h"
#include "launch/hub/snapshot.h"
#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using Names = std::vector<std::string>;

constexpr const char* kCard = "README.md";

bool matches_any(const std::string& name, const Names& patterns) {
  return std::ranges::any_of(patterns, [&](const std::string& pattern) {
    return name == pattern || matches_glob(name, pattern);
  });
}

/// The files of the splits that are asked for, by their names.
Names files_by_split(const Names& names, const std::set<std::string>& asked) {
  Names files;
  for (const SplitFiles& split : splits_by_name(names)) {
    if (!asked.contains(split.name)) continue;
    files.insert(files.end(), split.files.begin(), split.files.end());
  }
  return files;
}

Names files_of_config(const CardConfig& config, const Names& names,
                      const std::set<std::string>& asked) {
  Names patterns, below;
  for (const CardSplit& split : config.splits) {
    if (!asked.contains(split.name)) continue;
    for (const std::string& pattern : split.patterns) {
      patterns.push_back((fs::path(config.data_dir) / pattern).lexically_normal().string());
    }
  }
  const std::string folder = config.data_dir.empty() ? "" : config.data_dir + "/";
  for (const std::string& name : names) {
    const bool wanted = config.splits.empty() ? name.starts_with(folder) && kind_by_name(name)
                                              : matches_any(name, patterns);
    if (wanted) below.push_back(name);
  }
  return config.splits.empty() ? files_by_split(below, asked) : below;
}

[[noreturn]] void refuse(const RowFiles& where, const Names& names) {
  const bool has_script = std::ranges::any_of(
      names, [](const std::string& name) { return fs::path(name).extension() == ".py"; });
  if (has_script) {
    fail(
        "{}: is loaded by a program of its own, which is not run here; set revision: "
        "refs/convert/parquet, where the hub keeps most such data sets as Parquet files",
        where.path);
  }
  fail("{}: has no file of rows that fits (split, data_files); it has {}", where.path,
       names.empty() ? "no files" : io::printable(fmt::format("{}", fmt::join(names, ", "))));
}

}  // namespace

Names files_of_dataset(const RowFiles& where, const std::string& folder, const Names& names) {
  const std::set<std::string> asked = where.splits();
  Names files;
  if (!where.data_files.empty()) {
    std::ranges::copy_if(names, std::back_inserter(files), [&](const std::string& name) {
      return matches_any(name, where.data_files);
    });
  } else if (const auto configs = read_data_card(folder); !configs.empty()) {
    files = files_of_config(choose_config(configs, where), names, asked);
  } else {
    Names rows;
    std::ranges::copy_if(names, std::back_inserter(rows), may_hold_rows);
    files = files_by_split(rows, asked);
  }
  if (files.empty()) refuse(where, names);
  if (std::ranges::count(names, kCard) > 0) files.push_back(kCard);
  return files;
}

RowFiles find_dataset(const DatasetConfig& dataset, Console& console) {
  RowFiles where = {.path = dataset.path,
                    .data_files = dataset.data_files,
                    .split = dataset.split,
                    .ds_type = dataset.ds_type,
                    .name = dataset.name};
  auto name = hub_name(dataset.path, HubKind::kDataset);
  if (!name) return where;
  if (!dataset.revision.empty()) name->revision = dataset.revision;
  const std::string folder = hub_snapshot(
      *name, [](std::string_view file) { return file == kCard; }, console);
  where.path = hub_snapshot_of(
      *name, [&](const Names& names) { return files_of_dataset(where, folder, names); }, console);
  return where;
}

}  // namespace tessera::launch
