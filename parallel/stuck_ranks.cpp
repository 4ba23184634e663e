#include "parallel/stuck_ranks.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/core/error.h"

namespace tessera::parallel {

namespace {

std::string described(const RankAt& at) {
  std::string text = fmt::format("rank {}", at.rank);
  if (!at.host.empty()) text += fmt::format(" on {}", at.host);
  if (!at.phase.empty()) text += fmt::format(" ({})", at.phase);
  return text;
}

RankAt described(const RankSeen& seen) {
  RankAt at{int(seen.report.rank), seen.host, seen.report.phase};
  const auto add = [&](const std::string& text) {
    at.phase += (at.phase.empty() ? "" : "; ") + text;
  };
  if (!seen.answers) {
    add("shows no sign of life");
  } else if (seen.report.waits_in != CallKind::kNone) {
    add(fmt::format("waits in {}", name_of(seen.report.waits_in)));
  }
  return at;
}

}  // namespace

std::vector<RankAt> stuck_ranks(std::span<const RankSeen> others, uint64_t number) {
  const auto absent = [&](const RankSeen& seen) { return seen.report.entered < number; };
  const auto chosen = [&](auto&& stuck) {
    std::vector<RankAt> ranks;
    for (const RankSeen& seen : others) {
      if (stuck(seen)) ranks.push_back(described(seen));
    }
    return ranks;
  };
  auto ranks = chosen([](const RankSeen& seen) { return !seen.answers; });
  if (ranks.empty()) {
    ranks = chosen([&](const RankSeen& seen) {
      return absent(seen) && seen.report.waits_in == CallKind::kNone;
    });
  }
  if (ranks.empty()) ranks = chosen(absent);
  return ranks;
}

std::string stuck_message(std::span<const RankAt> missing, const RankAt& waiting,
                          std::string_view call, std::chrono::seconds waited) {
  TESSERA_CHECK(!call.empty());
  std::string names;
  for (size_t i = 0; i < missing.size(); ++i) {
    if (i > 0) names += i + 1 == missing.size() ? " and " : ", ";
    names += described(missing[i]);
  }
  const std::string_view article = call.starts_with('a') ? "an" : "a";
  if (missing.empty()) {
    return fmt::format(
        "{} has waited for {} s in {} {} that all ranks have come to: check the network between "
        "the hosts",
        described(waiting), waited.count(), article, call);
  }
  return fmt::format("{} did not come to {} {} that {} has waited in for {} s", names, article,
                     call, described(waiting), waited.count());
}

}  // namespace tessera::parallel
