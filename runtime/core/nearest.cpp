#include "runtime/core/nearest.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <numeric>
#include <string>

namespace tessera {

namespace {

/// Edits (insert, remove, replace, swap of neighbours) from one text to the other.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::array<std::vector<size_t>, 3> rows;
  for (auto& row : rows) row.resize(b.size() + 1);
  std::iota(rows[0].begin(), rows[0].end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    auto& row = rows[i % 3];
    const auto& above = rows[(i + 2) % 3];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], rows[(i + 1) % 3][j - 2] + 1);
      }
    }
  }
  return rows[a.size() % 3][b.size()];
}

}  // namespace

std::string_view nearest_of(std::string_view name, const std::vector<std::string_view>& known) {
  // Longer than any name could be misspelt to, and costly to compare.
  constexpr size_t kLongest = 64;
  std::string plain(name.substr(0, kLongest + 1));
  plain.erase(0, plain.find_first_not_of('-'));
  for (char& c : plain) c = c == '-' ? '_' : char(tolower(static_cast<unsigned char>(c)));
  if (plain.empty() || plain.size() > kLongest) return {};
  std::string_view best;
  size_t least = std::max<size_t>(2, plain.size() / 3) + 1;
  for (const std::string_view other : known) {
    const size_t distance = edit_distance(plain, other);
    if (distance >= least || distance >= other.size()) continue;
    least = distance;
    best = other;
  }
  return best;
}

}  // namespace tessera
