// What the system lets this process use: memory and processors, less what the limits of its
// containers (control groups, version 1 and 2, from its own up to the root) and of the process
// itself forbid. `root` is where /proc and the mounted control groups are found: "/", or a folder
// that a test made.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace tessera::launch {

/// Memory that can still be had, in bytes.
struct FreeMemory {
  int64_t bytes = 0;
  std::string limit;  // the file whose limit leaves least; empty: all that the machine has free
  int64_t limit_bytes = 0;  // what that limit is
};

/// For all processes of this node and container together: what the kernel says is available, or
/// less where a control group leaves less. Pages of files that a group holds can be dropped and
/// count as free.
FreeMemory node_memory(const std::string& root);
/// The same for this process alone (`ulimit -v`, `ulimit -d`); nothing where it has no limit.
std::optional<FreeMemory> process_memory(const std::string& root);

/// Processors' worth of time that the control groups grant; nothing where they grant all.
std::optional<double> processor_quota(const std::string& root);
/// Threads for one of `ranks` ranks that share the quota, where it has `cores` cores: more would
/// all stand still for the rest of each period. At least 1.
int threads_within(const std::optional<double>& quota, int cores, int64_t ranks);

/// Memory that this process can still have, in bytes: the least of all of the above.
int64_t available_bytes();
/// Peak resident memory of this process in bytes (VmHWM).
int64_t peak_resident_bytes();

}  // namespace tessera::launch
