#include "launch/data/files/glob.h"

#include <algorithm>
#include <filesystem>

#include "runtime/core/error.h"
#include "runtime/io/folder.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using Parts = std::vector<std::string_view>;

constexpr size_t kMostEntries = 100'000;

/// The names of a path, without empty ones and ".".
Parts names_of(std::string_view path) {
  Parts names;
  while (!path.empty()) {
    const size_t end = std::min(path.find('/'), path.size());
    const std::string_view name = path.substr(0, end);
    if (!name.empty() && name != ".") names.push_back(name);
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return names;
}

/// Takes a letter of UTF-8 off the front; any bytes are taken.
std::string_view take_letter(std::string_view& text) {
  size_t length = 1;
  while (length < text.size() && (static_cast<unsigned char>(text[length]) & 0xc0) == 0x80) {
    ++length;
  }
  const std::string_view letter = text.substr(0, length);
  text.remove_prefix(length);
  return letter;
}

Parts letters_of(std::string_view name) {
  Parts letters;
  while (!name.empty()) letters.push_back(take_letter(name));
  return letters;
}

/// Splits a pattern into letters, "?", "*" and lists in brackets. A bracket that is not closed is a
/// letter.
Parts rules_of(std::string_view pattern) {
  Parts rules;
  while (!pattern.empty()) {
    // A bracket that comes first in the list belongs to it.
    const bool negates = pattern.starts_with("[!") || pattern.starts_with("[^");
    const size_t close = pattern[0] == '[' ? pattern.find(']', negates ? 3 : 2) : pattern.npos;
    if (close != pattern.npos) {
      rules.push_back(pattern.substr(0, close + 1));
      pattern.remove_prefix(close + 1);
    } else {
      rules.push_back(take_letter(pattern));
    }
  }
  return rules;
}

bool is_in_list(std::string_view letter, std::string_view list) {
  list = list.substr(1, list.size() - 2);
  const bool negates = list.starts_with('!') || list.starts_with('^');
  if (negates) list.remove_prefix(1);
  while (!list.empty()) {
    const std::string_view first = take_letter(list);
    std::string_view last = first;
    if (list.size() > 1 && list[0] == '-') {
      list.remove_prefix(1);
      last = take_letter(list);
    }
    // Bytes of UTF-8 are in the order of their letters.
    if (first <= letter && letter <= last) return !negates;
  }
  return negates;
}

bool letter_matches(std::string_view letter, std::string_view rule) {
  if (rule == "?") return true;
  return rule.size() > 2 && rule[0] == '[' ? is_in_list(letter, rule) : letter == rule;
}

/// Whether the items match the rules one by one, where `star` matches any number of items. After a
/// mismatch only the last star needs to match one item more, so this takes at most items * rules
/// steps.
template <class Matches>
bool match_all(const Parts& items, const Parts& rules, std::string_view star, Matches&& matches) {
  size_t item = 0, rule = 0;
  size_t star_rule = rules.size(), star_item = 0;
  while (item < items.size()) {
    if (rule < rules.size() && rules[rule] == star) {
      star_rule = rule++;
      star_item = item;
    } else if (rule < rules.size() && matches(items[item], rules[rule])) {
      ++item;
      ++rule;
    } else if (star_rule < rules.size()) {
      rule = star_rule + 1;
      item = ++star_item;
    } else {
      return false;
    }
  }
  while (rule < rules.size() && rules[rule] == star) ++rule;
  return rule == rules.size();
}

bool name_matches(std::string_view name, std::string_view pattern) {
  return match_all(letters_of(name), rules_of(pattern), "*", letter_matches);
}

class Walk {
 public:
  Walk(std::string folder, int most_depth) : folder_(std::move(folder)), most_depth_(most_depth) {}

  std::vector<std::string> files() && {
    look_into("", 0);
    std::ranges::sort(files_);
    return std::move(files_);
  }

 private:
  void look_into(const fs::path& relative, int depth) {
    for (const std::string& name : io::names_in(fs::path(folder_) / relative)) {
      if (++entries_ > kMostEntries) {
        fail("{}: holds more than {} files; name fewer by a longer path or data_files", folder_,
             kMostEntries);
      }
      if (name.starts_with('.')) continue;
      const fs::path path = relative / name;
      if (!io::is_folder(fs::path(folder_) / path)) {
        files_.push_back(path.string());
      } else if (name.starts_with("__")) {
        continue;
      } else if (depth < most_depth_) {
        look_into(path, depth + 1);
      } else if (depth == kMostDepth) {
        fail("{}: folders are nested more than {} deep; do links lead in a circle?", folder_,
             kMostDepth);
      }
    }
  }

  const std::string folder_;
  const int most_depth_;
  size_t entries_ = 0;
  std::vector<std::string> files_;
};

}  // namespace

bool has_wildcards(std::string_view path) { return path.find_first_of("*?[") != path.npos; }

bool matches_glob(std::string_view path, std::string_view pattern) {
  return match_all(names_of(path), names_of(pattern), "**", name_matches);
}

std::vector<std::string> expand_glob(const std::string& pattern) {
  const size_t wildcard = std::min(pattern.find_first_of("*?["), pattern.size());
  const size_t slash = pattern.substr(0, wildcard).rfind('/');
  const std::string folder = slash == pattern.npos ? "" : pattern.substr(0, slash + 1);
  const std::string rest = pattern.substr(folder.size());
  const Parts names = names_of(rest);
  if (!folder.empty() && !io::is_folder(folder)) fail("{}: no such folder {}", pattern, folder);
  const bool any_depth = std::ranges::find(names, "**") != names.end();
  const int depth = any_depth ? kMostDepth : std::min(int(names.size()) - 1, kMostDepth);
  std::vector<std::string> found;
  for (const std::string& file : files_below(folder.empty() ? "." : folder, depth)) {
    if (matches_glob(file, rest)) found.push_back(folder + file);
  }
  return found;
}

std::vector<std::string> files_below(const std::string& folder, int most_depth) {
  return Walk(folder, most_depth).files();
}

}  // namespace tessera::launch
