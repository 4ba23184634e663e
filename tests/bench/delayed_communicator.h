// A communicator whose gathers take as long as a link of a given speed would need: for seeing how
// much of that time training hides.
#pragma once

#include <chrono>
#include <memory>
#include <thread>
#include <utility>

#include "parallel/communicator.h"

namespace tessera::bench {

class DelayedCommunicator final : public parallel::Communicator {
 public:
  /// `inner` does the work. Each rank receives at `bytes_per_second`; 0: without delay. Memory is
  /// never shared, so that layers have to cross the link.
  DelayedCommunicator(std::unique_ptr<parallel::Communicator> owned, double bytes_per_second)
      : owned_(std::move(owned)), inner_(*owned_), bytes_per_second_(bytes_per_second) {}
  DelayedCommunicator(parallel::Communicator& inner, double bytes_per_second)
      : inner_(inner), bytes_per_second_(bytes_per_second) {}

  int rank() const override { return inner_.rank(); }
  int size() const override { return inner_.size(); }
  void barrier() override { inner_.barrier(); }
  void broadcast(std::span<std::byte> bytes, int root) override { inner_.broadcast(bytes, root); }
  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    const auto begin = std::chrono::steady_clock::now();
    inner_.all_gather(mine, all);
    if (bytes_per_second_ == 0) return;
    const double seconds = double(all.size() - mine.size()) / bytes_per_second_;
    std::this_thread::sleep_until(begin + std::chrono::duration<double>(seconds));
  }
  void all_to_all(SendParts send, ReceiveParts receive) override {
    inner_.all_to_all(send, receive);
  }
  void all_reduce(std::span<float> values) override { inner_.all_reduce(values); }
  void send(std::span<const std::byte> bytes, int to) override { inner_.send(bytes, to); }
  void receive(std::span<std::byte> bytes, int from) override { inner_.receive(bytes, from); }
  std::unique_ptr<parallel::Communicator> split(int colour) override {
    return std::make_unique<DelayedCommunicator>(inner_.split(colour), bytes_per_second_);
  }
  int node() const override { return inner_.node(); }
  std::unique_ptr<parallel::SharedMemory> share(size_t bytes) override {
    return inner_.share(bytes);
  }
  void set_phase(std::string_view phase) override { inner_.set_phase(phase); }
  void set_watchdog(std::chrono::seconds limit) override { inner_.set_watchdog(limit); }
  void abort(std::string_view message) override { inner_.abort(message); }
  void poll() override { inner_.poll(); }

 private:
  std::unique_ptr<parallel::Communicator> owned_;
  parallel::Communicator& inner_;
  double bytes_per_second_;
};

}  // namespace tessera::bench
