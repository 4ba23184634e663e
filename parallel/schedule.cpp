#include "parallel/schedule.h"

#include <algorithm>

#include "runtime/core/error.h"

namespace tessera::parallel {
namespace {

/// Visits of all layers of a group, upwards or downwards.
std::vector<Visit> visits_of_group(const LayerGroup& group, Work work) {
  std::vector<Visit> visits;
  for (int64_t i = 0; i < group.count; ++i) {
    const int64_t place = work == Work::kBackward ? group.count - 1 - i : i;
    visits.push_back({.layer = group.first + place,
                      .work = work,
                      .begins = i == 0,
                      .ends = i + 1 == group.count});
  }
  return visits;
}

}  // namespace

std::vector<LayerGroup> uniform_groups(int64_t layers, Policy policy, int64_t size) {
  TESSERA_CHECK(size >= 1);
  std::vector<LayerGroup> groups;
  for (int64_t first = 0; first < layers; first += size) {
    groups.push_back({first, std::min(size, layers - first), policy});
  }
  return groups;
}

std::vector<LayerGroup> layer_groups(Policy policy, int64_t size, int64_t kept, int64_t layers) {
  kept = std::min(kept, layers);
  auto groups = uniform_groups(layers - kept, policy, size);
  for (int64_t layer = layers - kept; layer < layers; ++layer) {
    groups.push_back({layer, 1, Policy::kKeep});
  }
  return groups;
}

std::vector<Visit> visits_of(std::span<const LayerGroup> groups, bool training) {
  std::vector<Visit> visits;
  const auto append = [&](std::vector<Visit> more) {
    visits.insert(visits.end(), more.begin(), more.end());
  };
  const auto policy_of = [&](size_t g) {
    return g + 1 == groups.size() ? Policy::kKeep : groups[g].policy;
  };
  int64_t covered = 0;
  for (size_t g = 0; g < groups.size(); ++g) {
    TESSERA_CHECK(groups[g].first == covered && groups[g].count > 0);
    covered += groups[g].count;
    std::vector<Visit> up = visits_of_group(groups[g], Work::kForward);
    for (Visit& visit : up) visit.keeps = training && policy_of(g) == Policy::kKeep;
    up.front().offloads = training && policy_of(g) == Policy::kOffload;
    append(std::move(up));
  }
  for (size_t g = groups.size(); training && g-- > 0;) {
    if (policy_of(g) != Policy::kKeep) {
      std::vector<Visit> again = visits_of_group(groups[g], Work::kAgain);
      for (Visit& visit : again) visit.keeps = true;
      again.front().takes = policy_of(g) == Policy::kOffload;
      append(std::move(again));
    }
    append(visits_of_group(groups[g], Work::kBackward));
  }
  return visits;
}

std::optional<int64_t> next_gather(std::span<const Visit> visits, size_t i) {
  for (const Visit& visit : visits.subspan(i + 1)) {
    if (visit.layer != visits[i].layer) return visit.layer;
  }
  return std::nullopt;
}

}  // namespace tessera::parallel
