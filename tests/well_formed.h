// For tests of pages: whether HTML is whole, and texts of strangers stayed texts.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace tessera::testing {

/// Whether each tag is closed, in order, and nothing but tags has a '<', a '>' or a lone '&'.
inline bool is_well_formed(std::string_view page) {
  std::vector<std::string> open;
  for (size_t at = page.find('<'); at != page.npos; at = page.find('<')) {
    const std::string_view before = page.substr(0, at);
    if (before.find('>') != before.npos) return false;
    for (size_t amp = before.find('&'); amp != before.npos; amp = before.find('&', amp + 1)) {
      const size_t end = before.find(';', amp);
      if (end == before.npos || end - amp > 8) return false;
    }
    const size_t end = page.find('>', at);
    if (end == page.npos) return false;
    const std::string_view tag = page.substr(at + 1, end - at - 1);
    page.remove_prefix(end + 1);
    if (tag.starts_with('!') || tag.ends_with('/')) continue;
    if (tag.find('<') != tag.npos || std::ranges::count(tag, '"') % 2 != 0) return false;
    const std::string name(tag.substr(0, tag.find(' ')));
    if (!name.starts_with('/')) {
      open.push_back(name);
    } else if (open.empty() || "/" + open.back() != name) {
      return false;
    } else {
      open.pop_back();
    }
  }
  return open.empty();
}

}  // namespace tessera::testing
