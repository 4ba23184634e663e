// A communicator that hands every call to another one: what tests and benchmarks change a call of.
#pragma once

#include <memory>
#include <utility>

#include "parallel/communicator.h"

namespace tessera::testing {

class PassingCommunicator : public parallel::Communicator {
 public:
  /// `inner` does the work.
  explicit PassingCommunicator(std::unique_ptr<parallel::Communicator> owned)
      : owned_(std::move(owned)), inner_(*owned_) {}
  explicit PassingCommunicator(parallel::Communicator& inner) : inner_(inner) {}

  int rank() const override { return inner_.rank(); }
  int size() const override { return inner_.size(); }
  void barrier() override { inner_.barrier(); }
  void broadcast(std::span<std::byte> bytes, int root) override { inner_.broadcast(bytes, root); }
  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    inner_.all_gather(mine, all);
  }
  void all_to_all(SendParts send, ReceiveParts receive) override {
    inner_.all_to_all(send, receive);
  }
  void all_reduce(std::span<float> values) override { inner_.all_reduce(values); }
  void send(std::span<const std::byte> bytes, int to) override { inner_.send(bytes, to); }
  void receive(std::span<std::byte> bytes, int from) override { inner_.receive(bytes, from); }
  std::unique_ptr<parallel::Communicator> split(int colour) override {
    return inner_.split(colour);
  }
  int node() const override { return inner_.node(); }
  std::unique_ptr<parallel::SharedMemory> share(size_t bytes) override {
    return inner_.share(bytes);
  }
  void set_watchdog(std::chrono::seconds limit) override { inner_.set_watchdog(limit); }
  void abort(std::string_view message) override { inner_.abort(message); }
  void poll() override { inner_.poll(); }

 private:
  void publish_phase(std::string_view phase) override { inner_.set_phase(phase); }

 protected:
  std::unique_ptr<parallel::Communicator> owned_;
  parallel::Communicator& inner_;
};

}  // namespace tessera::testing
