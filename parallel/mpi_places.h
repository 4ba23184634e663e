// Where the ranks of an MPI job run, which of them share memory, and what each is at. Used by the
// MPI thread; set_phase() and what tells of places may be called from any thread.
#pragma once

#include <mpi.h>

#include <optional>
#include <string>
#include <vector>

#include "parallel/node_memory.h"
#include "parallel/rank_board.h"

namespace tessera::parallel {

class MpiPlaces {
 public:
  /// Collective over `all`, and blocks inside MPI.
  explicit MpiPlaces(MPI_Comm all);

  int rank() const { return rank_; }
  int size() const { return size_; }
  /// Whether the two ranks share memory.
  bool same_node(int a, int b) const { return node_of_[size_t(a)] == node_of_[size_t(b)]; }
  bool one_node() const { return one_node_; }
  /// The rank's host, for messages; empty where all run on one.
  std::string host(int rank) const { return one_host_ ? "" : hosts_[size_t(rank)]; }

  RankBoard& board() { return *board_; }
  /// What a rank is at; null for ranks of other nodes.
  const BoardPage* page_of(int rank) const;

 private:
  struct Address;
  void agree_on_nodes(const std::vector<Address>& places, MPI_Comm all);

  int rank_ = 0, size_ = 0;
  NodeMemory board_memory_;
  std::optional<RankBoard> board_;
  std::vector<std::optional<MemoryMapping>> peer_boards_;
  std::vector<int> node_of_;  // lowest rank of each rank's node
  std::vector<std::string> hosts_;
  bool one_node_ = true, one_host_ = true;
};

}  // namespace tessera::parallel
