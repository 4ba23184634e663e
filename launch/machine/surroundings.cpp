#include "launch/machine/surroundings.h"

#include <fmt/format.h>
#include <langinfo.h>
#include <locale.h>
#include <pwd.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "launch/console/progress.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using Grade = Finding::Grade;

std::string release_name(const fs::path& root) {
  std::ifstream file(root / "etc/os-release");
  constexpr std::string_view kKey = "PRETTY_NAME=";
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(kKey)) continue;
    std::string name = line.substr(kKey.size());
    std::erase(name, '"');
    return io::printable(name);
  }
  return "Linux";
}

std::string container_name(const fs::path& root, Variable variable) {
  std::error_code error;
  if (variable("KUBERNETES_SERVICE_HOST")) return ", in Kubernetes";
  if (variable("APPTAINER_CONTAINER") || variable("SINGULARITY_CONTAINER")) {
    return ", in Apptainer";
  }
  if (fs::exists(root / ".dockerenv", error)) return ", in Docker";
  if (fs::exists(root / "run/.containerenv", error)) return ", in Podman";
  return "";
}

/// ulimit's number in its unit, or "unlimited".
std::string limit_text(rlim_t limit, rlim_t unit) {
  return limit == RLIM_INFINITY ? "unlimited" : std::to_string(limit / unit);
}

bool is_name_character(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-';
}

/// A name of a few letters could be a part of other words: it goes only where it stands alone.
void replace_name(std::string& text, const PrivateName& name) {
  size_t at = 0;
  while ((at = text.find(name.name, at)) != std::string::npos) {
    const size_t end = at + name.name.size();
    const bool alone = (at == 0 || !is_name_character(text[at - 1])) &&
                       (end == text.size() || !is_name_character(text[end]));
    if (alone || name.name.size() >= 8) {
      text.replace(at, name.name.size(), name.instead);
      at += name.instead.size();
    } else {
      at = end;
    }
  }
}

bool is_system_path(std::string_view path) {
  constexpr std::string_view kRoots[] = {"/usr/", "/lib/", "/lib64/", "/dev/", "/proc/"};
  return std::ranges::any_of(kRoots, [&](auto root) { return path.starts_with(root); });
}

/// What of a path may be told.
std::string told_of(const std::string& path) {
  if (is_system_path(path)) return path;
  const std::string file = fs::path(path).filename().string();
  const bool library = file.find(".so") != std::string::npos &&
                       (file.starts_with("lib") || file.starts_with("tessera_"));
  return library ? "(path)/" + file : "(path)";
}

void hide_paths(std::string& text) {
  for (size_t at = text.find('/'); at != std::string::npos; at = text.find('/', at)) {
    // "MiB/s" and "A/B" are no paths.
    if (at > 0 && is_name_character(text[at - 1])) {
      ++at;
      continue;
    }
    const size_t end = std::min(text.find_first_of(" ,;:()'\"\t\n", at), text.size());
    const std::string told = told_of(text.substr(at, end - at));
    text.replace(at, end - at, told);
    at += told.size();
  }
}

}  // namespace

Finding describe_system(const std::string& root, Variable variable) {
  utsname name{};
  ::uname(&name);
  return {"system", fmt::format("{}, kernel {}, {}{}", release_name(root), name.release,
                                name.machine, container_name(root, variable))};
}

std::vector<Finding> check_limits() {
  rlimit files{}, locked{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  ::getrlimit(RLIMIT_MEMLOCK, &locked);
  Finding finding{"limits", fmt::format("ulimit -n {}, -l {}", limit_text(files.rlim_cur, 1),
                                        limit_text(locked.rlim_cur, 1024))};
  constexpr rlim_t kEnoughFiles = 1024;  // a data set of many files, and a rank's sockets
  if (files.rlim_cur < kEnoughFiles) {
    finding.grade = Grade::kLacking;
    finding.text += ": few open files";
    finding.cure = "ulimit -n 4096";
  }
  std::error_code error;
  const bool remote_memory =
      fs::exists("/sys/class/infiniband", error) && !fs::is_empty("/sys/class/infiniband", error);
  if (remote_memory && locked.rlim_cur != RLIM_INFINITY) {
    finding.grade = Grade::kLacking;
    finding.text += ": InfiniBand needs locked memory";
    finding.cure = "ulimit -l unlimited (as root: docker run --ulimit memlock=-1)";
  }
  return {finding};
}

Finding check_locale(Variable variable) {
  std::string name = "C", from;
  for (const char* key : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = variable(key);
    if (!value || !*value) continue;
    name = value;
    from = fmt::format(" ({})", key);
    break;
  }
  const std::string shown = io::printable(name, 40) + from;
  constexpr const char* kCure = "export LC_ALL=C.UTF-8";
  const locale_t locale = ::newlocale(LC_CTYPE_MASK, name.c_str(), nullptr);
  if (!locale) return {"locale", shown + ": not installed", Grade::kLacking, kCure};
  const std::string codes = ::nl_langinfo_l(CODESET, locale);
  ::freelocale(locale);
  if (codes == "UTF-8") return {"locale", shown + ": UTF-8"};
  return {"locale", fmt::format("{}: {}; a terminal may show UTF-8 text wrong", shown, codes),
          Grade::kLacking, kCure};
}

std::vector<std::string_view> report_variables() {
  return {"CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "OMP_PROC_BIND", "LANG", "LC_ALL", "LC_CTYPE"};
}

std::vector<PrivateName> private_names() {
  std::vector<PrivateName> names;
  const auto add = [&](std::string name, std::string instead) {
    if (name.size() >= 2 && name != "root") names.push_back({std::move(name), std::move(instead)});
  };
  const std::vector<std::string_view> told = report_variables();
  for (char** variable = environ; *variable; ++variable) {
    const std::string_view all = *variable;
    const size_t equals = all.find('=');
    if (equals == std::string_view::npos) continue;
    if (std::ranges::count(told, all.substr(0, equals)) > 0) continue;
    // Shorter ones are numbers and switches, which occur in any text.
    const std::string_view value = all.substr(equals + 1);
    if (value.size() >= 6) add(std::string(value), "(hidden)");
  }
  if (const passwd* user = ::getpwuid(::getuid())) {
    add(user->pw_dir, "(home)");
    add(user->pw_name, "(user)");
  }
  utsname host{};
  ::uname(&host);
  add(host.nodename, "(host)");
  // Longer ones first: a name may be a part of another.
  std::ranges::sort(names, std::ranges::greater{}, [](const auto& n) { return n.name.size(); });
  return names;
}

std::string without_names(std::string text, const std::vector<PrivateName>& names) {
  for (const PrivateName& name : names) replace_name(text, name);
  hide_paths(text);
  return text;
}

}  // namespace tessera::launch
