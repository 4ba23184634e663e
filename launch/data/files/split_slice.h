// Slices of splits: "train", "train[:1000]", "train[10%:20%]", "train[-50%:]+test[:10]". They mean
// what they mean in the datasets package: negative numbers count from the end, a number that is too
// large is the end, and per cents are rounded to the closest row.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tessera::launch {

struct RowRange {
  int64_t begin = 0;
  int64_t end = 0;  // behind the last one
};

struct SplitSlice {
  std::string split;
  std::optional<int64_t> from = {};
  std::optional<int64_t> to = {};
  bool percent = false;

  /// The rows of the slice; empty where that needs the number of all rows.
  std::optional<RowRange> range() const;
  /// The rows of the slice where the split has `rows` rows. `end` may lie before `begin`.
  RowRange range_of(int64_t rows) const;
  /// The slice as a user writes it.
  std::string text() const;
};

/// Parses slices joined by +. Error for anything else.
std::vector<SplitSlice> parse_split(std::string_view text);

}  // namespace tessera::launch
