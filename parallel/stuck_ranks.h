// The watchdog's message: who does not come, to which call, and who waits for them.
#pragma once

#include <chrono>
#include <span>
#include <string>
#include <string_view>

namespace tessera::parallel {

/// A rank of the whole job and what it last said it was at; host is empty where there is only one.
struct RankAt {
  int rank;
  std::string host;
  std::string phase;
};

/// "rank 2 (step 3, backward) did not come to an all_gather that rank 0 (step 3, backward) has
/// waited in for 5 s". `missing` has at least one rank.
std::string stuck_message(std::span<const RankAt> missing, const RankAt& waiting,
                          std::string_view call, std::chrono::seconds waited);

}  // namespace tessera::parallel
