// The communicator of a program that runs alone: one rank, so collectives copy at most.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "parallel/communicator.h"

namespace tessera::parallel {

class SelfCommunicator final : public Communicator {
 public:
  SelfCommunicator();

  int rank() const override { return 0; }
  int size() const override { return 1; }
  void barrier() override;
  void broadcast(std::span<std::byte> bytes, int root) override;
  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override;
  void all_to_all(SendParts send, ReceiveParts receive) override;
  void all_reduce(std::span<float> values) override;
  /// There is no other rank, so both are bugs.
  void send(std::span<const std::byte> bytes, int to) override;
  void receive(std::span<std::byte> bytes, int from) override;
  std::unique_ptr<Communicator> split(int colour) override;
  int node() const override { return 0; }
  std::unique_ptr<SharedMemory> share(size_t bytes) override;
  /// Nothing is ever waited for.
  void set_watchdog(std::chrono::seconds) override {}
  void abort(std::string_view message) override;
  void poll() override { check_running(); }

 private:
  struct Abort;
  explicit SelfCommunicator(std::shared_ptr<Abort> abort);
  void check_running() const;

  std::shared_ptr<Abort> abort_;  // shared with the groups split off
};

}  // namespace tessera::parallel
