// SIGINT, SIGTERM and SIGUSR1 ask a run to stop: it checkpoints at the next step boundary.
#pragma once

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

/// From now on writing to a pipe that nobody reads fails instead of ending the process.
void ignore_closed_pipes();

}  // namespace tessera::launch
