#include "launch/machine/processors.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <fstream>

#include "launch/machine/agreement.h"
#include "launch/machine/system_limits.h"
#include "parallel/self_communicator.h"
#include "runtime/core/error.h"

namespace tessera::launch {
namespace {

cpu_set_t affinity() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) CPU_SET(0, &set);
  return set;
}

}  // namespace

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (!line.starts_with("model name")) continue;
    const size_t begin = line.find_first_not_of(" \t", line.find(':') + 1);
    if (begin != std::string::npos) return line.substr(begin);
  }
  return "unknown";
}

std::string missing_cpu_features() {
  std::string missing;
  const auto require = [&](bool present, const char* name) {
    if (!present) missing += (missing.empty() ? "" : ", ") + std::string(name);
  };
  require(__builtin_cpu_supports("avx2"), "AVX2");
  require(__builtin_cpu_supports("fma"), "FMA");
  require(__builtin_cpu_supports("f16c"), "F16C");
  require(__builtin_cpu_supports("bmi2"), "BMI2");
  return missing;
}

void require_cpu() {
  const std::string missing = missing_cpu_features();
  if (missing.empty()) return;
  fail("Tessera needs a CPU with AVX2 and FMA; this one ({}) lacks {}", cpu_name(), missing);
}

int thread_count(const std::optional<int64_t>& configured) {
  parallel::SelfCommunicator alone;
  return thread_count(configured, alone);
}

int thread_count(const std::optional<int64_t>& configured, parallel::Communicator& world) {
  const cpu_set_t set = affinity();
  const std::string mask(reinterpret_cast<const char*>(&set), sizeof set);
  const std::string place = fmt::format("{} ", world.node()) + mask;
  const auto sharers = std::ranges::count(gather_texts(world, place), place);
  const auto on_node =
      std::ranges::count(parallel::gather_values(world, world.node()), world.node());
  if (configured) return int(*configured);
  return threads_within(processor_quota("/"), CPU_COUNT(&set) / int(sharers), on_node);
}

}  // namespace tessera::launch
