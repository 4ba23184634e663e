#include "launch/machine/run_status.h"

#include "launch/console/json_event.h"

namespace tessera::launch {

std::string RunStatus::line() const {
  const parallel::Communicator::Phase phase = world_.phase();
  const std::chrono::duration<double> in_phase = std::chrono::steady_clock::now() - phase.since;
  const std::string text =
      fmt::format("status   rank {} of {}: {}, for {:.1f} s; running for {}", world_.rank(),
                  world_.size(), phase.text, in_phase.count(), format_duration(running_.seconds()));
  return json_ ? json_event("message", {{"text", text}}) : text;
}

}  // namespace tessera::launch
