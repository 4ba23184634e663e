// Ranks that are processes, started by mpirun or srun. Calls are handed to the one thread that
// speaks MPI and wait asleep. Groups may be used by several threads at once, each group by one;
// split() and share() are for one thread of a rank at a time.
#pragma once

#include <memory>
#include <string_view>

#include "parallel/communicator.h"
#include "parallel/load_mpi.h"
#include "parallel/rank_board.h"

namespace tessera::parallel {

class MpiWorld;
struct MpiGroup;

class MpiCommunicator final : public Communicator {
 public:
  /// See start_mpi().
  static std::unique_ptr<Communicator> world(MpiOptions options);

  int rank() const override { return rank_; }
  int size() const override;
  void barrier() override;
  void broadcast(std::span<std::byte> bytes, int root) override;
  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override;
  void all_to_all(SendParts send, ReceiveParts receive) override;
  void all_reduce(std::span<float> values) override;
  void send(std::span<const std::byte> bytes, int to) override;
  void receive(std::span<std::byte> bytes, int from) override;
  std::unique_ptr<Communicator> split(int colour) override;
  int node() const override;
  std::unique_ptr<SharedMemory> share(size_t bytes) override;
  void set_watchdog(std::chrono::seconds limit) override;
  /// Calls on_abort and ends all processes of the job, this one too: does not return.
  void abort(std::string_view message) override;
  /// An abort, of any rank, has ended this process.
  void poll() override {}

 private:
  void publish_phase(std::string_view phase) override;
  MpiCommunicator(std::shared_ptr<MpiWorld> world, std::shared_ptr<MpiGroup> group, int rank);
  void gather(CallKind call, std::span<const std::byte> mine, std::span<std::byte> all);
  bool is_rank(int rank) const { return rank >= 0 && rank < size(); }

  std::shared_ptr<MpiWorld> world_;  // outlives the group
  std::shared_ptr<MpiGroup> group_;
  int rank_;
};

}  // namespace tessera::parallel
