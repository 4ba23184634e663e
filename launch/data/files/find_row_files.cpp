#include "launch/data/files/find_row_files.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <set>

#include "launch/data/files/data_card.h"
#include "launch/data/files/glob.h"
#include "runtime/core/error.h"
#include "runtime/io/folder.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using Paths = std::vector<std::string>;

/// Files that describe a data set or a model.
constexpr std::array<std::string_view, 6> kNotRows = {"README.md",         "config.json",
                                                      "dataset_info.json", "dataset_infos.json",
                                                      "dataset_dict.json", "state.json"};

bool describes(const std::string& file) {
  return std::ranges::find(kNotRows, fs::path(file).filename().string()) != kNotRows.end();
}

[[noreturn]] void refuse_missing(const std::string& path) {
  const bool may_be_hub = std::ranges::count(path, '/') == 1 && path.front() != '.' &&
                          path.front() != '/' && fs::path(path).extension().empty();
  fail("{}: no such file{}", path,
       may_be_hub ? "; a data set of the hub has to be downloaded, as JSON or JSON lines" : "");
}

/// The files of a folder that hold rows of `kind`; of any kind but text, which is taken where there
/// is nothing else, as folders have notes and licences. `files` are relative to it.
Paths files_of_rows(const Paths& files, std::optional<FileKind> kind, const std::string& folder) {
  Paths rows, texts;
  std::set<std::string_view> kinds;
  for (const std::string& file : files) {
    const auto of_file = kind_by_name(file);
    if (!of_file || describes(file)) continue;
    if (kind ? of_file == kind : of_file != FileKind::kText) {
      rows.push_back(file);
      kinds.insert(name_of(*of_file));
    } else if (!kind && inner_extension(file) == ".txt") {
      texts.push_back(file);
    }
  }
  if (kinds.size() > 1) {
    fail("{}: holds rows as {}, which may be the same ones; choose by ds_type or data_files",
         folder, fmt::join(kinds, " and as "));
  }
  if (!rows.empty()) return rows;
  if (!texts.empty()) return texts;
  const std::string other = files.empty() ? "it is empty" : "it has " + io::printable(files[0]);
  fail("{}: is a folder without files of {} rows ({}{}); name files in data_files", folder,
       kind ? name_of(*kind) : "JSON, CSV, text or Parquet", other,
       files.size() > 1 ? " and others" : "");
}

Paths in_folder(const Paths& files, const std::string& folder) {
  Paths paths;
  for (const std::string& file : files) paths.push_back((fs::path(folder) / file).string());
  return paths;
}

/// The files of the patterns, in their order. One that is named twice is read twice.
Paths files_of_patterns(const Paths& patterns) {
  Paths files;
  for (const std::string& pattern : patterns) {
    if (pattern.empty()) fail("data_files: holds an empty name");
    Paths found = {pattern};
    if (!io::exists(pattern)) {
      if (!has_wildcards(pattern)) refuse_missing(pattern);
      found = expand_glob(pattern);
      if (found.empty()) fail("{}: no file is called like that", pattern);
    } else if (io::is_folder(pattern)) {
      fail("{}: is a folder; name the files in it, as with {}/*.jsonl", pattern, pattern);
    }
    files.insert(files.end(), found.begin(), found.end());
  }
  return files;
}

std::vector<SplitFiles> splits_by_name_in(const std::string& folder, std::optional<FileKind> kind) {
  std::vector<SplitFiles> splits = splits_by_name(files_of_rows(files_below(folder), kind, folder));
  for (SplitFiles& split : splits) split.files = in_folder(split.files, folder);
  return splits;
}

/// Whether a file is called so, or like that.
bool is_there(const std::string& pattern) {
  if (!has_wildcards(pattern)) return io::exists(pattern);
  const fs::path above = fs::path(pattern.substr(0, pattern.find_first_of("*?["))).parent_path();
  return io::exists(above) && !expand_glob(pattern).empty();
}

std::vector<SplitFiles> splits_of_config(const CardConfig& config, const std::string& folder,
                                         std::optional<FileKind> kind,
                                         const std::set<std::string>& asked) {
  if (config.splits.empty()) return splits_by_name_in(folder, kind);
  std::vector<SplitFiles> splits;
  for (const CardSplit& split : config.splits) {
    const Paths patterns = in_folder(split.patterns, folder);
    // What is not asked for need not be there: of a repository only what is needed is fetched.
    if (!asked.contains(split.name) && std::ranges::none_of(patterns, is_there)) continue;
    const Paths found = files_of_patterns(patterns);
    splits.push_back({split.name, files_of_rows(found, kind, folder + ", split " + split.name)});
  }
  return splits;
}

std::vector<SplitFiles> splits_of_folder(const RowFiles& where, std::optional<FileKind> kind) {
  const std::vector<CardConfig> configs = read_data_card(where.path);
  if (configs.empty()) {
    if (where.name.empty() || where.name == "default") return splits_by_name_in(where.path, kind);
    fail("{}: name: {} is a config of a README.md, but there is none that lists configs",
         where.path, io::printable(where.name));
  }
  const CardConfig& config = choose_config(configs, where);
  const fs::path folder = fs::path(where.path) / config.data_dir;
  return splits_of_config(config, folder.string(), kind, where.splits());
}

}  // namespace

bool may_hold_rows(const std::string& file) {
  const auto kind = kind_by_name(file);
  return kind && kind != FileKind::kText && !describes(file);
}

const CardConfig& choose_config(const std::vector<CardConfig>& configs, const RowFiles& where) {
  std::vector<std::string> names;
  for (const CardConfig& config : configs) {
    if (config.name == where.name) return config;
    names.push_back(io::printable(config.name));
  }
  if (where.name.empty()) {
    if (configs.size() == 1) return configs[0];
    for (const CardConfig& config : configs) {
      if (config.is_default || config.name == "default") return config;
    }
    fail("{}: README.md lists several configs; choose one by name: {}", where.path,
         fmt::join(names, ", "));
  }
  fail("{}: README.md has no config '{}'; there is {}", where.path, io::printable(where.name),
       fmt::join(names, ", "));
}

FoundFiles find_row_files(const RowFiles& where) {
  FoundFiles found;
  found.kind = file_kind(where.ds_type);
  const auto all_train = [](Paths files) {
    return std::vector<SplitFiles>{{"train", std::move(files)}};
  };
  if (where.path.empty()) fail("path: expected a file, a folder or a glob, got nothing");
  const bool path_is_type = where.path == "json" || where.path == "csv" || where.path == "text" ||
                            where.path == "parquet";
  if (!where.name.empty() && !where.data_files.empty()) {
    fail("{}: name chooses files by the folder's README.md, and data_files names them; give one",
         where.path);
  }
  if (path_is_type && !where.data_files.empty()) {
    found.kind = file_kind(where.path);
    found.splits = all_train(files_of_patterns(where.data_files));
  } else if (!io::exists(where.path) && path_is_type) {
    fail("path: {} reads the files that data_files names; give data_files", where.path);
  } else if (io::exists(where.path) && io::is_folder(where.path)) {
    found.splits = where.data_files.empty()
                       ? splits_of_folder(where, found.kind)
                       : all_train(files_of_patterns(in_folder(where.data_files, where.path)));
  } else if (!where.data_files.empty()) {
    fail("{}: is no folder, so that data_files cannot be in it", where.path);
  } else if (!where.name.empty()) {
    fail("{}: is no folder, so that it has no config '{}'", where.path, io::printable(where.name));
  } else {
    found.splits = all_train(files_of_patterns({where.path}));
  }
  return found;
}

}  // namespace tessera::launch
