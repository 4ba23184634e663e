// When a request to the hub is tried again, and after how long a pause.
#pragma once

#include "launch/console/progress.h"
#include "launch/hub/http.h"

namespace tessera::launch {

/// Of the fetches of a hub that was reached.
inline constexpr int kMostRetries = 5;

class Retries {
 public:
  /// The pause before the first of `most` further tries; each later one is twice as long.
  Retries(int pause_seconds, int most, Console& console)
      : first_(pause_seconds), most_(most), console_(console) {}

  /// After an answer that is none, or asks for patience: says what happened, waits, and returns
  /// true. False where trying again does not help, or was tried often enough. The server's own
  /// wish (Retry-After) replaces the pause, up to ten minutes.
  bool again(const HttpAnswer& answer);
  /// Something was fetched: begin to count anew.
  void reset() { tries_ = 0; }

 private:
  int first_;
  int most_;
  Console& console_;
  int tries_ = 0;
};

/// "cannot reach HOST: ..." or "HOST answers 503 (...)": why there was no content.
std::string describe_failure(const HttpAnswer& answer);

}  // namespace tessera::launch
