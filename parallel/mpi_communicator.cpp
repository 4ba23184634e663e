#include "parallel/mpi_communicator.h"

#include <mpi.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "parallel/mpi_operation.h"
#include "parallel/mpi_world.h"
#include "parallel/node_memory.h"
#include "runtime/core/error.h"

namespace tessera::parallel {

namespace {

enum Tag { kMessageTag, kExchangeTag };

struct Counted {
  int count;
  MPI_Datatype type;
};

/// `bytes` in MPI's terms: more than `largest` become one element of a type made for them, which
/// the operation keeps.
Counted counted(MpiOperation& op, size_t bytes, size_t largest) {
  if (bytes <= largest) return {int(bytes), MPI_BYTE};
  const size_t blocks = bytes / largest, tail = bytes % largest;
  MPI_Datatype block, body, whole;
  MPI_Type_contiguous(int(largest), MPI_BYTE, &block);
  MPI_Type_contiguous(int(blocks), block, &body);
  const std::array<int, 2> lengths{1, int(tail)};
  const std::array<MPI_Aint, 2> begins{0, MPI_Aint(blocks * largest)};
  const std::array<MPI_Datatype, 2> parts{body, MPI_BYTE};
  MPI_Type_create_struct(2, lengths.data(), begins.data(), parts.data(), &whole);
  MPI_Type_commit(&whole);
  MPI_Type_free(&block);
  MPI_Type_free(&body);
  op.types.push_back(whole);
  return {1, whole};
}

}  // namespace

std::unique_ptr<Communicator> MpiCommunicator::world(MpiOptions options) {
  TESSERA_CHECK(options.on_abort && options.largest_count > 0);
  const auto world = std::make_shared<MpiWorld>(std::move(options));
  return std::unique_ptr<Communicator>(
      new MpiCommunicator(world, world->all(), world->places().rank()));
}

MpiCommunicator::MpiCommunicator(std::shared_ptr<MpiWorld> world, std::shared_ptr<MpiGroup> group,
                                 int rank)
    : world_(std::move(world)), group_(std::move(group)), rank_(rank) {}

int MpiCommunicator::size() const { return int(group_->world_rank.size()); }

void MpiCommunicator::barrier() {
  MpiOperation op{CallKind::kBarrier, *group_,
                  [&](MpiOperation& o) { MPI_Ibarrier(group_->comm, o.request()); }};
  world_->run(op);
}

void MpiCommunicator::broadcast(std::span<std::byte> bytes, int root) {
  TESSERA_CHECK(is_rank(root));
  MpiOperation op{CallKind::kBroadcast, *group_, [&](MpiOperation& o) {
                    const auto [count, type] = counted(o, bytes.size(), world_->largest_count());
                    MPI_Ibcast(bytes.data(), count, type, root, group_->comm, o.request());
                  }};
  world_->run(op);
}

void MpiCommunicator::all_gather(std::span<const std::byte> mine, std::span<std::byte> all) {
  gather(CallKind::kAllGather, mine, all);
}

void MpiCommunicator::gather(CallKind call, std::span<const std::byte> mine,
                             std::span<std::byte> all) {
  TESSERA_CHECK(all.size() == mine.size() * size_t(size()));
  const bool in_place = mine.data() == all.data() + size_t(rank_) * mine.size();
  MpiOperation op{call, *group_, [&](MpiOperation& o) {
                    const auto [count, type] = counted(o, mine.size(), world_->largest_count());
                    MPI_Iallgather(in_place ? MPI_IN_PLACE : mine.data(), count, type, all.data(),
                                   count, type, group_->comm, o.request());
                  }};
  world_->run(op);
}

void MpiCommunicator::all_to_all(SendParts send, ReceiveParts receive) {
  const auto total = [](std::span<const uint64_t> bytes) {
    return std::accumulate(bytes.begin(), bytes.end(), uint64_t(0));
  };
  TESSERA_CHECK(send.bytes.size() == size_t(size()) && receive.bytes.size() == size_t(size()));
  TESSERA_CHECK(total(send.bytes) == send.data.size());
  TESSERA_CHECK(total(receive.bytes) == receive.data.size());
  const size_t me = size_t(rank_);
  TESSERA_CHECK(send.bytes[me] == receive.bytes[me]);
  std::ranges::copy(send.data.subspan(total(send.bytes.first(me)), send.bytes[me]),
                    receive.data.begin() + ptrdiff_t(total(receive.bytes.first(me))));
  // Messages rather than MPI_Ialltoallv, whose offsets are int.
  MpiOperation op{CallKind::kAllToAll, *group_, [&](MpiOperation& o) {
                    size_t from = 0, to = 0;
                    for (size_t r = 0; r < receive.bytes.size(); ++r) {
                      const auto [count, type] =
                          counted(o, receive.bytes[r], world_->largest_count());
                      if (r != me && receive.bytes[r] > 0) {
                        MPI_Irecv(receive.data.data() + from, count, type, int(r), kExchangeTag,
                                  group_->comm, o.request());
                      }
                      from += receive.bytes[r];
                    }
                    for (size_t r = 0; r < send.bytes.size(); ++r) {
                      const auto [count, type] = counted(o, send.bytes[r], world_->largest_count());
                      if (r != me && send.bytes[r] > 0) {
                        MPI_Isend(send.data.data() + to, count, type, int(r), kExchangeTag,
                                  group_->comm, o.request());
                      }
                      to += send.bytes[r];
                    }
                  }};
  world_->run(op);
}

void MpiCommunicator::all_reduce(std::span<float> values) {
  const size_t largest = world_->largest_count();
  do {
    const auto part = values.first(std::min(values.size(), largest));
    MpiOperation op{CallKind::kAllReduce, *group_, [&](MpiOperation& o) {
                      MPI_Iallreduce(MPI_IN_PLACE, part.data(), int(part.size()), MPI_FLOAT,
                                     MPI_SUM, group_->comm, o.request());
                    }};
    world_->run(op);
    values = values.subspan(part.size());
  } while (!values.empty());
}

void MpiCommunicator::send(std::span<const std::byte> bytes, int to) {
  TESSERA_CHECK(is_rank(to) && to != rank_);
  MpiOperation op{CallKind::kSend, *group_,
                  [&](MpiOperation& o) {
                    const auto [count, type] = counted(o, bytes.size(), world_->largest_count());
                    MPI_Isend(bytes.data(), count, type, to, kMessageTag, group_->comm,
                              o.request());
                  },
                  group_->world_rank[size_t(to)]};
  world_->run(op);
}

void MpiCommunicator::receive(std::span<std::byte> bytes, int from) {
  TESSERA_CHECK(is_rank(from) && from != rank_);
  MpiOperation op{CallKind::kReceive, *group_,
                  [&](MpiOperation& o) {
                    const auto [count, type] = counted(o, bytes.size(), world_->largest_count());
                    MPI_Irecv(bytes.data(), count, type, from, kMessageTag, group_->comm,
                              o.request());
                  },
                  group_->world_rank[size_t(from)]};
  world_->run(op);
}

std::unique_ptr<Communicator> MpiCommunicator::split(int colour) {
  TESSERA_CHECK(colour >= 0);
  struct Wish {
    int64_t colour;
    uint64_t id;
  };
  const Wish mine{colour, world_->reserve_group_id()};
  std::vector<Wish> wishes(static_cast<size_t>(size()));
  // Also so that all have come: MPI_Comm_split itself waits inside MPI, where no abort reaches.
  gather(CallKind::kSplit, std::as_bytes(std::span(&mine, 1)),
         std::as_writable_bytes(std::span(wishes)));
  const uint64_t id = std::ranges::max(wishes, {}, &Wish::id).id;
  world_->use_group_id(id);
  MPI_Comm comm = MPI_COMM_NULL;
  MpiOperation op{CallKind::kSplit, *group_,
                  [&](MpiOperation&) { MPI_Comm_split(group_->comm, colour, rank_, &comm); }};
  world_->run(op);
  std::vector<int> world_rank;
  int place = 0;
  for (int r = 0; r < size(); ++r) {
    if (wishes[size_t(r)].colour != colour) continue;
    if (r == rank_) place = int(world_rank.size());
    world_rank.push_back(group_->world_rank[size_t(r)]);
  }
  auto part = std::make_shared<MpiGroup>(comm, id, std::move(world_rank), world_->places().board());
  return std::unique_ptr<Communicator>(new MpiCommunicator(world_, std::move(part), place));
}

int MpiCommunicator::node() const {
  const auto& ranks = group_->world_rank;
  const int me = ranks[size_t(rank_)];
  return int(std::ranges::find_if(ranks, [&](int r) { return world_->places().same_node(r, me); }) -
             ranks.begin());
}

namespace {

class SharedRegions final : public SharedMemory {
 public:
  SharedRegions(NodeMemory mine, int rank, std::vector<std::optional<MemoryMapping>> peers)
      : mine_(std::move(mine)), rank_(rank), peers_(std::move(peers)) {}

  std::span<std::byte> mine() override { return mine_.bytes(); }
  std::optional<std::span<const std::byte>> of(int rank) const override {
    TESSERA_CHECK(rank >= 0 && size_t(rank) < peers_.size());
    if (rank == rank_) return mine_.bytes();
    if (!peers_[size_t(rank)]) return std::nullopt;
    return peers_[size_t(rank)]->bytes();
  }
  void let_go(int rank, size_t begin, size_t bytes) const override {
    if (rank != rank_ && peers_[size_t(rank)]) peers_[size_t(rank)]->let_go(begin, bytes);
  }

 private:
  NodeMemory mine_;
  int rank_;
  std::vector<std::optional<MemoryMapping>> peers_;
};

}  // namespace

std::unique_ptr<SharedMemory> MpiCommunicator::share(size_t bytes) {
  NodeMemory mine(bytes);
  const MemoryTicket ticket = mine.ticket();
  std::vector<MemoryTicket> tickets(static_cast<size_t>(size()));
  gather(CallKind::kShare, std::as_bytes(std::span(&ticket, 1)),
         std::as_writable_bytes(std::span(tickets)));
  std::vector<std::optional<MemoryMapping>> peers(tickets.size());
  const int me = group_->world_rank[size_t(rank_)];
  for (size_t r = 0; r < tickets.size(); ++r) {
    const int other = group_->world_rank[r];
    if (other == me || !world_->places().same_node(other, me)) continue;
    peers[r] = map_peer_memory(tickets[r]);
    if (!peers[r]) fail("shared memory of rank {} cannot be opened", other);
  }
  // Nobody closes a region before all have opened it.
  const std::byte come{};
  std::vector<std::byte> all_come(tickets.size());
  gather(CallKind::kShare, {&come, 1}, all_come);
  mine.close();
  return std::make_unique<SharedRegions>(std::move(mine), rank_, std::move(peers));
}

void MpiCommunicator::publish_phase(std::string_view phase) {
  world_->places().board().set_phase(phase);
}

void MpiCommunicator::set_watchdog(std::chrono::seconds limit) {
  TESSERA_CHECK(limit.count() >= 0);
  world_->set_watchdog(limit);
}

void MpiCommunicator::abort(std::string_view message) { world_->abort(message); }

namespace {

std::string describe_library() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING];
  int length = 0;
  MPI_Get_library_version(text, &length);
  const std::string_view version(text, size_t(length));
  return std::string(version.substr(0, version.find(',')));
}

}  // namespace

extern "C" {
extern const MpiModule tessera_mpi_module;
const MpiModule tessera_mpi_module = {&MpiCommunicator::world, &describe_library};
}

}  // namespace tessera::parallel
