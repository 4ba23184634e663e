#include "launch/config/user_path.h"

#include <fmt/format.h>
#include <pwd.h>
#include <unistd.h>

#include <cctype>
#include <cstdlib>

#include "launch/config/yaml.h"

namespace tessera::launch {
namespace {

bool is_url(std::string_view text) {
  const size_t end = text.find("://");
  if (end == std::string_view::npos || end == 0) return false;
  for (const unsigned char c : text.substr(0, end)) {
    if (!isalnum(c) && c != '+' && c != '-' && c != '.') return false;
  }
  return true;
}

/// "$NAME" or "${" is in it.
bool names_variable(std::string_view text) {
  for (size_t at = text.find('$'); at < text.size(); at = text.find('$', at + 1)) {
    const auto next = static_cast<unsigned char>(at + 1 < text.size() ? text[at + 1] : ' ');
    if (isalpha(next) || next == '_' || next == '{') return true;
  }
  return false;
}

/// The home folder of `user`, or, without a name, of this one; empty where there is none.
std::string home_of(const std::string& user) {
  if (user.empty()) {
    const char* home = std::getenv("HOME");
    if (home != nullptr && home[0] == '/') return home;
  }
  const passwd* entry = user.empty() ? getpwuid(getuid()) : getpwnam(user.c_str());
  return entry != nullptr && entry->pw_dir != nullptr ? entry->pw_dir : "";
}

}  // namespace

UserPath read_user_path(std::string_view written) {
  if (written.empty()) return {{}, "expected a path, got ''"};
  if (written.find('\0') != std::string_view::npos) {
    return {{}, fmt::format("{} has a zero byte, which no path has", shown(written))};
  }
  if (is_url(written)) {
    return {{}, fmt::format("expected a path of this machine, got the URL {}", shown(written))};
  }
  if (names_variable(written)) {
    return {{},
            fmt::format("{} names a variable, and those are not replaced; write the path out (a "
                        "leading ~ is the home folder)",
                        shown(written))};
  }
  if (written[0] != '~') return {std::string(written), {}};
  const size_t slash = std::min(written.find('/'), written.size());
  const std::string user(written.substr(1, slash - 1));
  std::string home = home_of(user);
  if (home.empty()) {
    const std::string whose = user.empty() ? "this user" : fmt::format("user {}", shown(user));
    return {{},
            fmt::format("{}: the home folder of {} is not known; write the path out, or ./~ for "
                        "what is named so",
                        shown(written), whose)};
  }
  while (home.ends_with('/') && slash < written.size()) home.pop_back();
  return {home.append(written.substr(slash)), {}};
}

}  // namespace tessera::launch
