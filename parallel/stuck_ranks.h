// The watchdog's message: who does not come, to which call, and who waits for them.
#pragma once

#include <chrono>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "parallel/rank_board.h"

namespace tessera::parallel {

/// A rank of the whole job and what it last said it was at; host is empty where there is only one.
struct RankAt {
  int rank;
  std::string host;
  std::string phase;
};

/// "rank 2 (step 3, backward) did not come to an all_gather that rank 0 (step 3, backward) has
/// waited in for 5 s". When nobody is missing, it blames the network.
std::string stuck_message(std::span<const RankAt> missing, const RankAt& waiting,
                          std::string_view call, std::chrono::seconds waited);

/// What one rank of a group is known to be at, when another has waited too long for it.
struct RankSeen {
  RankReport report;
  std::string host;
  bool answers = false;  // it showed a sign of life since
};

/// Those of `others` that hold up a group's call of this number (from 1): the ones that show no
/// sign of life; failing those, the ones that have not come and wait for nobody either; failing
/// those, all that have not come. Empty when all have come and live.
std::vector<RankAt> stuck_ranks(std::span<const RankSeen> others, uint64_t number);

}  // namespace tessera::parallel
