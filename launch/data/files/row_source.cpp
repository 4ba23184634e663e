#include "launch/data/files/row_source.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <limits>
#include <set>

#include "launch/data/files/find_row_files.h"
#include "launch/data/files/row_file.h"
#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

constexpr int64_t kAll = std::numeric_limits<int64_t>::max();

const SplitFiles& split_called(const std::string& name, const std::vector<SplitFiles>& splits,
                               const RowFiles& where) {
  const auto found = std::ranges::find(splits, name, &SplitFiles::name);
  if (found != splits.end()) return *found;
  std::vector<std::string> names;
  for (const SplitFiles& split : splits) names.push_back(io::printable(split.name));
  fail("{}: has no split {}; there is {}", where.path, io::printable(name),
       names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", ")));
}

}  // namespace

std::vector<SplitSlice> RowFiles::slices() const {
  return parse_split(split.empty() ? "train" : split);
}

std::set<std::string> RowFiles::splits() const {
  std::set<std::string> names;
  for (const SplitSlice& slice : slices()) names.insert(slice.split);
  return names;
}

RowSource::RowSource(const RowFiles& where) {
  const FoundFiles found = find_row_files(where);
  kind_ = found.kind;
  for (SplitSlice& slice : where.slices()) {
    const SplitFiles& split = split_called(slice.split, found.splits, where);
    parts_.push_back({std::move(slice), split.files});
  }
  std::set<std::string_view> known;
  for (const Part& part : parts_) {
    std::ranges::copy_if(part.files, std::back_inserter(files_),
                         [&](const std::string& file) { return known.insert(file).second; });
  }
}

void RowSource::for_each(RowVisitor visit) const {
  for (const Part& part : parts_) {
    if (!read(part, visit)) return;
  }
}

RowRange RowSource::range_of(const Part& part) const {
  if (const auto range = part.slice.range()) return *range;
  auto counted = rows_of_split_.find(part.slice.split);
  if (counted == rows_of_split_.end()) {
    int64_t rows = 0;
    const auto nothing = [](RowJson&&, const std::string&) { return true; };
    for (const std::string& file : part.files) rows += read_row_file(file, kind_, kAll, nothing);
    counted = rows_of_split_.emplace(part.slice.split, rows).first;
  }
  return part.slice.range_of(counted->second);
}

bool RowSource::read(const Part& part, RowVisitor visit) const {
  const RowRange range = range_of(part);
  bool wanted = true;
  int64_t at = 0;  // the row that comes next
  int64_t taken = 0;
  const auto take = [&](RowJson&& row, const std::string& where) {
    wanted = visit(std::move(row), where);
    return wanted && range.begin + ++taken < range.end;
  };
  for (const std::string& file : part.files) {
    if (!wanted || std::max(at, range.begin) >= range.end) break;
    at += read_row_file(file, kind_, std::max<int64_t>(range.begin - at, 0), take);
  }
  if (wanted && taken == 0) {
    fail("split: {} holds none of the rows in {}{}", part.slice.text(), part.files[0],
         part.files.size() > 1 ? fmt::format(" and {} more files", part.files.size() - 1) : "");
  }
  return wanted;
}

std::string RowSource::selection() const {
  std::map<std::string_view, size_t> numbers;
  for (const std::string& file : files_) numbers.emplace(file, numbers.size());
  std::string text = kind_ ? std::string(name_of(*kind_)) : "any";
  for (const Part& part : parts_) {
    text += fmt::format(", {} of files", part.slice.text());
    for (const std::string& file : part.files) text += fmt::format(" {}", numbers.at(file));
  }
  return text;
}

}  // namespace tessera::launch
