// SIGINT, SIGTERM and SIGUSR1 ask a run to stop: it checkpoints at the next step boundary. SIGUSR2
// asks where it is.
#pragma once

#include <functional>
#include <string>
#include <thread>

namespace tessera::launch {

/// While one lives, the three signals only raise a flag, which the first of several clears. A
/// second SIGINT ends the process at once.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  /// The signal that came, or 0.
  static int received();
};

/// While it lives, each SIGUSR2 writes a line to stderr, also while this process is stuck. There is
/// at most one in a process.
class StatusSignal {
 public:
  /// `describe` gives the line, on a thread of its own.
  explicit StatusSignal(std::function<std::string()> describe);
  ~StatusSignal();
  StatusSignal(const StatusSignal&) = delete;
  StatusSignal& operator=(const StatusSignal&) = delete;

 private:
  void answer();

  std::function<std::string()> describe_;
  int reading_ = -1;  // end of a pipe that the handler writes to
  std::thread thread_;
};

/// From now on writing to a pipe that nobody reads fails instead of ending the process.
void ignore_closed_pipes();

}  // namespace tessera::launch
