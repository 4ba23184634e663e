// The rows of a data set that lies on this machine: of a file, of files by patterns, or of a folder
// with its splits, as the datasets package finds them. Rows are read again each time, and memory
// does not grow with them.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "launch/data/files/known_formats.h"
#include "launch/data/files/row_visitor.h"
#include "launch/data/files/split_slice.h"

namespace tessera::launch {

/// Where the rows of a data set are, as a user writes it.
struct RowFiles {
  std::string path;  // a file, a glob, or a folder
  /// Names or globs inside the folder `path`, or paths of their own where `path` is "json", "csv",
  /// "text" or "parquet". Empty: all files of rows.
  std::vector<std::string> data_files = {};
  /// "train", "test", "train[:1000]", "train[10%:20%]", "train[:50%]+test[:10]" and the like.
  /// Empty: "train", to which all rows belong where nothing has splits.
  std::string split = {};
  std::string ds_type = {};  // json, csv, text, parquet; empty: told by name and content
  /// Of the configs that the folder's README.md lists. Empty: the only one, or the default.
  std::string name = {};

  /// What `split` says. Error where it is not written so.
  std::vector<SplitSlice> slices() const;
  /// The splits that these are of.
  std::set<std::string> splits() const;
};

class RowSource {
 public:
  /// Finds the files. Error (one line, with the cure) where there is none, or no such split.
  explicit RowSource(const RowFiles& where);

  /// The files in the order they are read, each once. They are sorted by name; data_files keep
  /// their order, and the matches of each pattern are sorted.
  const std::vector<std::string>& files() const { return files_; }

  /// Calls `visit` for every row in order until it returns false. `where` is "file:line", or
  /// "file: row N" in arrays and Parquet. A slice that needs the number of rows counts them first.
  void for_each(RowVisitor visit) const;

  /// Two sources with the same files and the same selection have the same rows.
  std::string selection() const;

 private:
  struct Part {
    SplitSlice slice;
    std::vector<std::string> files;
  };
  RowRange range_of(const Part& part) const;
  /// False after `visit` returned false.
  bool read(const Part& part, RowVisitor visit) const;

  std::optional<FileKind> kind_;
  std::vector<Part> parts_;
  std::vector<std::string> files_;
  mutable std::map<std::string, int64_t> rows_of_split_;  // those that were counted
};

}  // namespace tessera::launch
