#include "launch/data/files/split_slice.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

constexpr std::string_view kBlanks = " \t";

[[noreturn]] void refuse(std::string_view text, std::string_view why) {
  fail("split: '{}' {}; write train, train[:1000], train[10%:20%] or several with +",
       io::printable(text), why);
}

std::string_view trimmed(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(kBlanks), text.size()));
  return text.substr(0, text.find_last_not_of(kBlanks) + 1);
}

bool is_name(std::string_view text) {
  const auto is_sign = [](unsigned char c) {
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '_' ||
           c == '.' || c == '-' || c >= 0x80;
  };
  return !text.empty() && std::ranges::all_of(text, is_sign);
}

struct Bound {
  std::optional<int64_t> value;
  bool percent = false;
};

/// "", "10", "-1_000" or "20%".
Bound parse_bound(std::string_view text, std::string_view whole) {
  if (text.empty()) return {};
  std::string digits(text);
  const bool percent = digits.ends_with('%');
  if (percent) digits.pop_back();
  std::erase(digits, '_');
  int64_t value = 0;
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, value);
  if (digits.empty() || error != std::errc() || stop != end) {
    refuse(whole, "has a bound that is no whole number");
  }
  if (percent && (value < -100 || value > 100)) refuse(whole, "has a bound beyond 100%");
  return {value, percent};
}

SplitSlice parse_slice(std::string_view text) {
  const size_t bracket = std::min(text.find('['), text.size());
  SplitSlice slice{.split = std::string(text.substr(0, bracket))};
  if (!is_name(slice.split)) refuse(text, "does not begin with the name of a split");
  if (bracket == text.size()) return slice;
  const std::string_view bounds = text.substr(bracket + 1, text.size() - bracket - 2);
  const size_t colon = bounds.find(':');
  if (!text.ends_with(']') || bracket + 1 == text.size() || colon == bounds.npos) {
    refuse(text, "has no slice [FROM:TO]");
  }
  const Bound from = parse_bound(bounds.substr(0, colon), text);
  const Bound to = parse_bound(bounds.substr(colon + 1), text);
  if (from.value && to.value && from.percent != to.percent) {
    refuse(text, "counts from rows to per cents");
  }
  slice.from = from.value;
  slice.to = to.value;
  slice.percent = from.percent || to.percent;
  return slice;
}

}  // namespace

std::optional<RowRange> SplitSlice::range() const {
  if (percent || from.value_or(0) < 0 || to.value_or(0) < 0) return std::nullopt;
  return RowRange{from.value_or(0), to.value_or(std::numeric_limits<int64_t>::max())};
}

RowRange SplitSlice::range_of(int64_t rows) const {
  const auto place = [&](std::optional<int64_t> bound, int64_t otherwise) {
    if (!bound) return otherwise;
    int64_t at = *bound;
    // A half is rounded to the even number, as Python does.
    if (percent) at = int64_t(std::nearbyint(double(*bound * rows) / 100.0));
    if (at < 0) at = std::max<int64_t>(at + rows, 0);
    return std::min(at, rows);
  };
  return {place(from, 0), place(to, rows)};
}

std::string SplitSlice::text() const {
  if (!from && !to) return split;
  const auto bound = [&](std::optional<int64_t> value) {
    return value ? fmt::format("{}{}", *value, percent ? "%" : "") : std::string();
  };
  return fmt::format("{}[{}:{}]", split, bound(from), bound(to));
}

std::vector<SplitSlice> parse_split(std::string_view text) {
  std::vector<SplitSlice> slices;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('+', begin), text.size());
    slices.push_back(parse_slice(trimmed(text.substr(begin, end - begin))));
    begin = end + 1;
  }
  return slices;
}

}  // namespace tessera::launch
