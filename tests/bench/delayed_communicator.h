// A communicator whose gathers take as long as a link of a given speed would need: for seeing how
// much of that time training hides.
#pragma once

#include <chrono>
#include <thread>

#include "tests/passing_communicator.h"

namespace tessera::bench {

class DelayedCommunicator final : public testing::PassingCommunicator {
 public:
  /// Each rank receives at `bytes_per_second`; 0: without delay. Memory is never shared, so that
  /// layers have to cross the link.
  DelayedCommunicator(std::unique_ptr<parallel::Communicator> inner, double bytes_per_second)
      : PassingCommunicator(std::move(inner)), bytes_per_second_(bytes_per_second) {}
  DelayedCommunicator(parallel::Communicator& inner, double bytes_per_second)
      : PassingCommunicator(inner), bytes_per_second_(bytes_per_second) {}

  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    const auto begin = std::chrono::steady_clock::now();
    inner_.all_gather(mine, all);
    if (bytes_per_second_ == 0) return;
    const double seconds = double(all.size() - mine.size()) / bytes_per_second_;
    std::this_thread::sleep_until(begin + std::chrono::duration<double>(seconds));
  }
  std::unique_ptr<parallel::Communicator> split(int colour) override {
    return std::make_unique<DelayedCommunicator>(inner_.split(colour), bytes_per_second_);
  }

 private:
  double bytes_per_second_;
};

}  // namespace tessera::bench
