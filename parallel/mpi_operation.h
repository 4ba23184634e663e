// A group of ranks and one call in it, as the MPI thread sees them.
#pragma once

#include <mpi.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "parallel/rank_board.h"

namespace tessera::parallel {

struct MpiGroup {
  MpiGroup(MPI_Comm c, uint64_t i, std::vector<int> ranks, RankBoard& b)
      : comm(c), id(i), world_rank(std::move(ranks)), board(b) {}
  ~MpiGroup() { board.leave(id); }
  MpiGroup(const MpiGroup&) = delete;
  MpiGroup& operator=(const MpiGroup&) = delete;

  /// Freed by MPI_Finalize only: MPI_Comm_free would be one more collective call to agree on.
  const MPI_Comm comm;
  const uint64_t id;  // one on all its ranks, and no other group's on any of them
  const std::vector<int> world_rank;
  RankBoard& board;
};

/// One call, from its caller's stack to the MPI thread and back.
struct MpiOperation {
  CallKind call;
  MpiGroup& group;
  std::function<void(MpiOperation&)> start;  // on the MPI thread: makes the requests
  int peer = -1;  // of a message, in the whole job; -1: a collective call

  std::vector<MPI_Request> requests{};
  std::vector<MPI_Datatype> types{};  // freed with the operation
  uint64_t number = 0;                // among the collective calls of its group; 0: not counted
  std::chrono::steady_clock::duration waited{};
  bool done = false;

  MPI_Request* request() { return &requests.emplace_back(MPI_REQUEST_NULL); }
};

}  // namespace tessera::parallel
