#include "launch/machine/system_limits.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <sstream>
#include <vector>

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;

/// A number that a text begins with; nothing for "max", "-1" and "unlimited". What is beyond an
/// int64_t becomes its maximum.
std::optional<int64_t> number_in(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  constexpr auto kMost = std::numeric_limits<int64_t>::max();
  if (error == std::errc::result_out_of_range) return kMost;
  if (error != std::errc()) return std::nullopt;
  return int64_t(std::min(value, uint64_t(kMost)));
}

/// The number that follows `name` at the start of a line.
std::optional<int64_t> number_after(const fs::path& path, std::string_view name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(name)) continue;
    const size_t at = line.find_first_not_of(" \t", name.size());
    return at == std::string::npos ? std::nullopt : number_in(std::string_view(line).substr(at));
  }
  return std::nullopt;
}

std::optional<int64_t> number_of(const fs::path& path) { return number_after(path, ""); }

/// The value in bytes of a "Name:  123 kB" line of a /proc file; 0 if it has none.
int64_t proc_bytes(const fs::path& path, std::string_view name) {
  return number_after(path, name).value_or(0) * 1024;
}

std::vector<std::string> words_of(const std::string& line, char between) {
  std::vector<std::string> words;
  std::istringstream stream(line);
  for (std::string word; std::getline(stream, word, between);) words.push_back(word);
  return words;
}

bool has_word(const std::string& list, std::string_view word) {
  return std::ranges::count(words_of(list, ','), word) > 0;
}

/// A tree of control groups that is mounted: version 2 has one for all controllers.
struct Mount {
  fs::path folder;  // on the machine
  fs::path root;    // the group that the folder shows
  bool unified = false;
};

/// Those that may limit `controller`. Lines as of proc_pid_mountinfo(5).
std::vector<Mount> mounts_of(const fs::path& root, std::string_view controller) {
  std::vector<Mount> mounts;
  std::ifstream file(root / "proc/self/mountinfo");
  for (std::string line; std::getline(file, line);) {
    const std::vector<std::string> words = words_of(line, ' ');
    const auto dash = std::ranges::find(words, "-");
    if (words.size() < 6 || words.end() - dash < 4) continue;
    const bool unified = dash[1] == "cgroup2";
    if (!unified && !(dash[1] == "cgroup" && has_word(dash[3], controller))) continue;
    mounts.push_back({words[4], words[3], unified});
  }
  return mounts;
}

/// This process's group in a tree, as of cgroups(7).
fs::path group_in(const fs::path& root, const Mount& mount, std::string_view controller) {
  std::ifstream file(root / "proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (mount.unified ? controllers.empty() : has_word(controllers, controller)) {
      return line.substr(second + 1);
    }
  }
  return mount.root;
}

/// The folders of the groups that this process is in, innermost first, as paths of the machine.
std::vector<fs::path> groups_of(const fs::path& root, const Mount& mount,
                                std::string_view controller) {
  // What lies outside of the mounted tree cannot be seen: then only its root is known.
  fs::path below = group_in(root, mount, controller).lexically_relative(mount.root);
  if (below.empty() || *below.begin() == "..") below = ".";
  std::vector<fs::path> groups;
  for (; !below.empty() && below != "."; below = below.parent_path()) {
    groups.push_back(mount.folder / below);
  }
  groups.push_back(mount.folder);
  return groups;
}

/// Calls see(folder on the machine, folder under root, whether of version 2) for each group of this
/// process that a controller may limit.
void each_group(const fs::path& root, std::string_view controller,
                const std::function<void(const fs::path&, const fs::path&, bool)>& see) {
  for (const Mount& mount : mounts_of(root, controller)) {
    for (const fs::path& folder : groups_of(root, mount, controller)) {
      see(folder, root / folder.relative_path(), mount.unified);
    }
  }
}

struct MemoryFiles {
  std::vector<const char*> limits;
  const char* used;
  std::vector<const char*> reclaimable;  // lines of memory.stat
};

const MemoryFiles& memory_files(bool unified) {
  static const MemoryFiles kUnified{
      {"memory.max", "memory.high"}, "memory.current", {"active_file ", "inactive_file "}};
  static const MemoryFiles kFirst{{"memory.limit_in_bytes"},
                                  "memory.usage_in_bytes",
                                  {"total_active_file ", "total_inactive_file "}};
  return unified ? kUnified : kFirst;
}

void take_less(FreeMemory& free, const std::string& limit, int64_t limit_bytes, int64_t used) {
  const int64_t left = std::max<int64_t>(0, limit_bytes - used);
  if (left < free.bytes) free = {left, limit, limit_bytes};
}

}  // namespace

FreeMemory node_memory(const std::string& root) {
  FreeMemory free{proc_bytes(fs::path(root) / "proc/meminfo", "MemAvailable:"), "", 0};
  each_group(root, "memory", [&](const fs::path& name, const fs::path& folder, bool unified) {
    const MemoryFiles& files = memory_files(unified);
    int64_t used = number_of(folder / files.used).value_or(0);
    for (const char* line : files.reclaimable) {
      used -= number_after(folder / "memory.stat", line).value_or(0);
    }
    for (const char* file : files.limits) {
      const std::optional<int64_t> limit = number_of(folder / file);
      if (limit) take_less(free, (name / file).string(), *limit, std::max<int64_t>(0, used));
    }
  });
  return free;
}

std::optional<FreeMemory> process_memory(const std::string& root) {
  const fs::path self = fs::path(root) / "proc/self";
  constexpr auto kMost = std::numeric_limits<int64_t>::max();
  FreeMemory free{kMost, "", kMost};
  const auto limit = [&](const char* name, const char* used, const char* said) {
    const std::optional<int64_t> bytes = number_after(self / "limits", name);
    if (bytes) take_less(free, said, *bytes, proc_bytes(self / "status", used));
  };
  limit("Max address space", "VmSize:", "ulimit -v");
  limit("Max data size", "VmData:", "ulimit -d");
  if (free.bytes == kMost) return std::nullopt;
  return free;
}

std::optional<double> processor_quota(const std::string& root) {
  std::optional<double> least;
  each_group(root, "cpu", [&](const fs::path&, const fs::path& folder, bool unified) {
    std::optional<int64_t> quota, period;
    if (unified) {
      std::ifstream file(folder / "cpu.max");  // "200000 100000", or "max 100000"
      std::string first, second;
      file >> first >> second;
      quota = number_in(first);
      period = number_in(second);
    } else {
      quota = number_of(folder / "cpu.cfs_quota_us");
      period = number_of(folder / "cpu.cfs_period_us");
    }
    if (!quota || period.value_or(0) <= 0) return;
    const double processors = double(*quota) / double(*period);
    least = std::min(least.value_or(processors), processors);
  });
  return least;
}

int threads_within(const std::optional<double>& quota, int cores, int64_t ranks) {
  const double granted = quota ? std::ceil(*quota / double(ranks)) : double(cores);
  return int(std::clamp(granted, 1.0, std::max(1.0, double(cores))));
}

int64_t available_bytes() {
  const int64_t node = node_memory("/").bytes;
  const std::optional<FreeMemory> process = process_memory("/");
  return process ? std::min(node, process->bytes) : node;
}

int64_t peak_resident_bytes() { return proc_bytes("/proc/self/status", "VmHWM:"); }

}  // namespace tessera::launch
