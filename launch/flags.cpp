#include "launch/flags.h"

#include <array>
#include <map>
#include <numeric>

#include "runtime/core/error.h"

namespace tessera::launch {

namespace {

std::map<std::string_view, const Flag*> index_of_flags() {
  std::map<std::string_view, const Flag*> index;
  for (const FlagGroup& group : flag_groups()) {
    for (const Flag& flag : group.flags) {
      TESSERA_CHECK(index.emplace(flag.name, &flag).second);
      for (const std::string_view alias : flag.aliases) {
        TESSERA_CHECK(index.emplace(alias, &flag).second);
      }
    }
  }
  return index;
}

const std::map<std::string_view, const Flag*>& flag_index() {
  static const std::map<std::string_view, const Flag*> index = index_of_flags();
  return index;
}

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

Flag&& Flag::alias(std::initializer_list<std::string_view> names) && {
  aliases = names;
  return std::move(*this);
}

Flag&& Flag::ruled_out_by(std::string_view key, bool (*when)(const Config&),
                          std::string_view cure) && {
  ruled_out.push_back({key, when, cure});
  return std::move(*this);
}

Flag&& Flag::later() && {
  notes = fmt::format("Any value but the default {}.", kNotInThisVersion);
  lacking = [write = write](const Config& config) {
    return write(config) == write(Config{}) ? std::string_view{} : kNotInThisVersion;
  };
  return std::move(*this);
}

const RuledOut* Flag::rule(const Config& config) const {
  for (const RuledOut& rule : ruled_out) {
    if (rule.when(config)) return &rule;
  }
  return nullptr;
}

const Flag* find_flag(std::string_view key) {
  const auto found = flag_index().find(key);
  return found == flag_index().end() ? nullptr : found->second;
}

const ForeignKey* find_foreign_key(std::string_view key) {
  for (const ForeignKey& foreign : foreign_keys()) {
    if (std::ranges::count(foreign.names, key) > 0) return &foreign;
  }
  return nullptr;
}

std::string_view nearest_of(std::string_view key, const std::vector<std::string_view>& known) {
  // Longer than any key could be misspelt to, and costly to compare.
  constexpr size_t kLongest = 64;
  std::string plain(key.substr(0, kLongest + 1));
  plain.erase(0, plain.find_first_not_of('-'));
  for (char& c : plain) c = c == '-' ? '_' : char(tolower(static_cast<unsigned char>(c)));
  if (plain.empty() || plain.size() > kLongest) return {};
  std::string_view best;
  size_t least = std::max<size_t>(2, plain.size() / 3) + 1;
  for (const std::string_view name : known) {
    const size_t distance = edit_distance(plain, name);
    if (distance >= least || distance >= name.size()) continue;
    least = distance;
    best = name;
  }
  return best;
}

std::string_view nearest_key(std::string_view key) {
  std::vector<std::string_view> known;
  for (const auto& [name, flag] : flag_index()) known.push_back(name);
  return nearest_of(key, known);
}

}  // namespace tessera::launch
