#include "launch/machine/threads.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>

#include "launch/machine/agreement.h"
#include "launch/machine/system_limits.h"
#include "parallel/self_communicator.h"

namespace tessera::launch {
namespace {

cpu_set_t affinity() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) CPU_SET(0, &set);
  return set;
}

}  // namespace

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
