// Ranks that are threads of one process: for tests of many ranks, and for checking a plan. A rank
// that waits sleeps. Collectives meet, copy out of each other's memory, and meet again, so a call
// that all ranks have come to always completes, even when one aborts in the middle of it.
#pragma once

#include <memory>
#include <vector>

#include "parallel/communicator.h"
#include "runtime/core/function_ref.h"

namespace tessera::parallel {

class ThreadCommunicator final : public Communicator {
 public:
  /// One communicator for each of `ranks` ranks. Ranks [k n, (k + 1) n), n = ranks_per_node, count
  /// as one node: node() and share() hide memory from the others.
  static std::vector<std::unique_ptr<Communicator>> group(int ranks, int ranks_per_node);

  int rank() const override { return rank_; }
  int size() const override;
  void barrier() override;
  void broadcast(std::span<std::byte> bytes, int root) override;
  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override;
  void all_to_all(SendParts send, ReceiveParts receive) override;
  /// Sums in rank order.
  void all_reduce(std::span<float> values) override;
  void send(std::span<const std::byte> bytes, int to) override;
  void receive(std::span<std::byte> bytes, int from) override;
  std::unique_ptr<Communicator> split(int colour) override;
  int node() const override;
  std::unique_ptr<SharedMemory> share(size_t bytes) override;
  void set_watchdog(std::chrono::seconds limit) override;
  void abort(std::string_view message) override;
  void poll() override;

 private:
  void publish_phase(std::string_view phase) override;
  struct World;
  struct Call;
  struct Message;
  struct Group;

  ThreadCommunicator(std::shared_ptr<Group> group, int rank);
  bool is_rank(int rank) const { return rank >= 0 && rank < size(); }

  std::shared_ptr<Group> group_;
  int rank_;
};

/// Runs `body` on a thread for each rank of a group and returns when all are done. The first rank
/// that throws aborts the group; its exception is rethrown here, not those it caused elsewhere.
void run_ranks(int ranks, int ranks_per_node, FunctionRef<void(Communicator&)> body);
/// All ranks on one node.
void run_ranks(int ranks, FunctionRef<void(Communicator&)> body);

}  // namespace tessera::parallel
