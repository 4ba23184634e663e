#include "parallel/stuck_ranks.h"

#include <fmt/format.h>

#include "runtime/core/error.h"

namespace tessera::parallel {

namespace {

std::string described(const RankAt& at) {
  std::string text = fmt::format("rank {}", at.rank);
  if (!at.host.empty()) text += fmt::format(" on {}", at.host);
  if (!at.phase.empty()) text += fmt::format(" ({})", at.phase);
  return text;
}

}  // namespace

std::string stuck_message(std::span<const RankAt> missing, const RankAt& waiting,
                          std::string_view call, std::chrono::seconds waited) {
  TESSERA_CHECK(!missing.empty() && !call.empty());
  std::string names;
  for (size_t i = 0; i < missing.size(); ++i) {
    if (i > 0) names += i + 1 == missing.size() ? " and " : ", ";
    names += described(missing[i]);
  }
  const std::string_view article = call.starts_with('a') ? "an" : "a";
  return fmt::format("{} did not come to {} {} that {} has waited in for {} s", names, article,
                     call, described(waiting), waited.count());
}

}  // namespace tessera::parallel
