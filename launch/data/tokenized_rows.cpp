#include "launch/data/tokenized_rows.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>

#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

using json = RowJson;

constexpr std::array<std::string_view, 6> kColumns = {
    "input_ids", "labels", "attention_mask", "position_ids", "completion_mask", "assistant_masks"};

/// What a column may hold.
struct Range {
  int64_t most;               // and 0 at least
  std::string otherwise;      // what is said of any other value
  bool ignore_index = false;  // -100, too
  bool flags = false;         // false and true, too: masks are written so
};

/// The integers of a column; empty when it is absent or null. `size` is how many there must be.
std::vector<int64_t> integers(const json& row, const char* key, std::string_view where,
                              const Range& range, std::optional<size_t> size) {
  if (!has_value(row, key)) return {};
  const json& column = row.at(key);
  if (!column.is_array()) fail("{}: \"{}\" must be an array of integers", where, key);
  std::vector<int64_t> out;
  out.reserve(column.size());
  for (const json& item : column) {
    if (!item.is_number_integer() && !(range.flags && item.is_boolean())) {
      fail("{}: \"{}\" must hold integers only", where, key);
    }
    if (item.is_number_unsigned() && item.get<uint64_t>() > uint64_t(INT64_MAX)) {
      fail("{}: \"{}\" holds {}, which is {}", where, key, item.get<uint64_t>(), range.otherwise);
    }
    const int64_t value = item.is_boolean() ? item.get<bool>() : item.get<int64_t>();
    const bool ignored = range.ignore_index && value == Sample::kIgnore;
    if (!ignored && (value < 0 || value > range.most)) {
      fail("{}: \"{}\" holds {}, which is {}", where, key, value, range.otherwise);
    }
    out.push_back(value);
  }
  if (size && out.size() != *size) {
    fail("{}: {} {} for {} input_ids", where, out.size(), key, *size);
  }
  return out;
}

/// The tokens [begin, end) that are no padding.
std::array<size_t, 2> without_padding(const std::vector<int64_t>& mask, size_t size,
                                      std::string_view where) {
  if (mask.empty()) return {0, size};
  const auto first = std::find(mask.begin(), mask.end(), 1);
  if (first == mask.end()) return {0, 0};
  const auto last = std::find(mask.rbegin(), mask.rend(), 1).base();
  if (std::find(first, last, 0) != last) {
    fail("{}: \"attention_mask\" has a 0 between ones; only padding at the ends can be left out",
         where);
  }
  return {size_t(first - mask.begin()), size_t(last - mask.begin())};
}

/// Where samples begin in [begin, end), and `end` itself.
std::vector<size_t> sample_bounds(const std::vector<int64_t>& positions, size_t begin, size_t end,
                                  std::string_view where) {
  std::vector<size_t> bounds = {begin};
  for (size_t i = begin; i < end && !positions.empty(); ++i) {
    if (positions[i] == 0) {
      if (i > begin) bounds.push_back(i);
    } else if (i == begin || positions[i] != positions[i - 1] + 1) {
      fail(
          "{}: \"position_ids\" must count up from 0, and again from 0 for every further sample; "
          "at index {} it holds {}",
          where, i, positions[i]);
    }
  }
  bounds.push_back(end);
  return bounds;
}

}  // namespace

std::vector<Sample> encode_tokenized(const json& row, int64_t vocab, std::string_view where,
                                     RowRemarks& remarks) {
  check_columns(row, {kColumns, /*rendered=*/true}, where, remarks);
  if (!has_value(row, "input_ids")) fail("{}: the row has no \"input_ids\"", where);
  const Range tokens = {vocab - 1, fmt::format("no token of this model (0 to {})", vocab - 1)};
  const Range labeled = {tokens.most, tokens.otherwise, /*ignore_index=*/true};
  const Range mask = {1, "neither 0 nor 1", /*ignore_index=*/false, /*flags=*/true};
  const Range places = {int64_t{1} << 31, "no position"};
  const auto ids = integers(row, "input_ids", where, tokens, std::nullopt);
  const auto labels = integers(row, "labels", where, labeled, ids.size());
  const auto attention = integers(row, "attention_mask", where, mask, ids.size());
  const auto positions = integers(row, "position_ids", where, places, ids.size());
  const auto completion = integers(row, "completion_mask", where, mask, ids.size());
  const auto assistant = integers(row, "assistant_masks", where, mask, ids.size());
  const auto [begin, end] = without_padding(attention, ids.size(), where);
  const std::vector<size_t> bounds = sample_bounds(positions, begin, end, where);
  std::vector<Sample> samples(bounds.size() - 1);
  for (size_t s = 0; s < samples.size(); ++s) {
    for (size_t i = bounds[s]; i < bounds[s + 1]; ++i) {
      const bool masked =
          (!completion.empty() && completion[i] == 0) || (!assistant.empty() && assistant[i] == 0);
      const int64_t label = masked ? Sample::kIgnore : labels.empty() ? ids[i] : labels[i];
      samples[s].ids.push_back(int32_t(ids[i]));
      samples[s].labels.push_back(int32_t(label));
    }
  }
  return samples;
}

}  // namespace tessera::launch
