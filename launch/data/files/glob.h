// Finds files by patterns: * matches any letters of one name, ? matches one letter, [a-z] and
// [!a-z] match one letter of a list, ** matches any number of folders.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tessera::launch {

bool has_wildcards(std::string_view path);

/// Whether a relative path matches a relative pattern.
bool matches_glob(std::string_view path, std::string_view pattern);

/// The files that match, sorted. A wildcard matches no hidden file or folder. Error where the
/// folder before the first wildcard does not exist.
std::vector<std::string> expand_glob(const std::string& pattern);

/// All files below a folder as paths relative to it, sorted. Skips hidden files and folders (.name)
/// and folders such as __pycache__. `most_depth` limits the levels of folders below it; 0 gives the
/// files of the folder itself. Error for more than 100,000 entries, and for more than 32 levels.
inline constexpr int kMostDepth = 32;
std::vector<std::string> files_below(const std::string& folder, int most_depth = kMostDepth);

}  // namespace tessera::launch
