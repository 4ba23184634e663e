#include "parallel/mpi_places.h"

#include <unistd.h>

#include <algorithm>
#include <memory>

namespace tessera::parallel {

struct MpiPlaces::Address {
  MemoryTicket board;
  int64_t node;  // as MPI sees it: the lowest rank there
  char host[64];
};

MpiPlaces::MpiPlaces(MPI_Comm all) : board_memory_(sizeof(BoardPage)) {
  MPI_Comm_rank(all, &rank_);
  MPI_Comm_size(all, &size_);
  board_.emplace(*std::construct_at(reinterpret_cast<BoardPage*>(board_memory_.bytes().data())));
  Address mine{board_memory_.ticket(), rank_, {}};
  gethostname(mine.host, sizeof(mine.host) - 1);
  MPI_Comm node;
  MPI_Comm_split_type(all, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
  MPI_Bcast(&mine.node, 1, MPI_INT64_T, 0, node);
  MPI_Comm_free(&node);
  std::vector<Address> places(static_cast<size_t>(size_));
  MPI_Allgather(&mine, sizeof(Address), MPI_BYTE, places.data(), sizeof(Address), MPI_BYTE, all);
  for (const Address& place : places) hosts_.emplace_back(place.host);
  one_host_ = std::ranges::count(hosts_, hosts_[0]) == size_;
  agree_on_nodes(places, all);  // after which all have opened what they will
  board_memory_.close();
}

void MpiPlaces::agree_on_nodes(const std::vector<Address>& places, MPI_Comm all) {
  // MPI's word for one node is not enough: the ranks may be in containers of their own. A node
  // stands when all of its ranks have reached all others.
  peer_boards_.resize(places.size());
  int reached = 1;
  for (size_t r = 0; r < places.size(); ++r) {
    if (int(r) == rank_ || places[r].node != places[size_t(rank_)].node) continue;
    peer_boards_[r] = map_peer_memory(places[r].board);
    if (!peer_boards_[r]) reached = 0;
  }
  std::vector<int> all_reached(places.size());
  MPI_Allgather(&reached, 1, MPI_INT, all_reached.data(), 1, MPI_INT, all);
  for (size_t r = 0; r < places.size(); ++r) {
    bool stands = true;
    for (size_t other = 0; other < places.size(); ++other) {
      stands = stands && (places[other].node != places[r].node || all_reached[other]);
    }
    node_of_.push_back(stands ? int(places[r].node) : int(r));
  }
  for (size_t r = 0; r < places.size(); ++r) {
    if (!same_node(int(r), rank_)) peer_boards_[r].reset();
  }
  one_node_ = std::ranges::count(node_of_, node_of_[0]) == size_;
}

const BoardPage* MpiPlaces::page_of(int rank) const {
  if (rank == rank_) return &board_->page();
  const auto& mapping = peer_boards_[size_t(rank)];
  return mapping ? reinterpret_cast<const BoardPage*>(mapping->bytes().data()) : nullptr;
}

}  // namespace tessera::parallel
