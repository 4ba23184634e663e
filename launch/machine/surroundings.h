// What a process has around it: system, container, limits and locale.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "launch/machine/finding.h"
#include "runtime/core/function_ref.h"

namespace tessera::launch {

/// As getenv: null where a variable is not set.
using Variable = FunctionRef<const char*(const char*)>;

/// "Debian GNU/Linux 12 (bookworm), kernel 6.1.0, x86_64, in Docker". `root` is where the system's
/// files are: "/", or a folder that a test made.
Finding describe_system(const std::string& root, Variable variable);
/// Of open files and of memory that may be locked.
std::vector<Finding> check_limits();
/// Whether text is UTF-8 here.
Finding check_locale(Variable variable);

/// A name that must not leave this machine, and what is said instead.
struct PrivateName {
  std::string name;
  std::string instead;
};
/// The folders, user and host of this process, and the value of every environment variable that
/// is not in report_variables().
std::vector<PrivateName> private_names();
/// The variables whose values a report may show.
std::vector<std::string_view> report_variables();
/// `text` without `names`, and without paths other than those of the system's own folders, of
/// which the names of libraries stay.
std::string without_names(std::string text, const std::vector<PrivateName>& names);

}  // namespace tessera::launch
