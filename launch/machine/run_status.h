// What SIGUSR2 shows of a run.
#pragma once

#include <atomic>

#include "launch/console/progress.h"
#include "launch/machine/signals.h"
#include "parallel/communicator.h"

namespace tessera::launch {

/// While one lives, each SIGUSR2 shows what this rank does, since when, and how long the run has
/// gone on. There is at most one in a process.
class RunStatus {
 public:
  /// `world` outlives it.
  explicit RunStatus(const parallel::Communicator& world)
      : world_(world), signal_([this] { return line(); }) {}
  /// From now on with or without JSON, as Console.
  void set_json(bool json) { json_ = json; }

 private:
  std::string line() const;

  const parallel::Communicator& world_;
  const Stopwatch running_;
  std::atomic<bool> json_ = false;  // another thread answers
  const StatusSignal signal_;
};

}  // namespace tessera::launch
