// `profile: true`: what the time of a few steps goes to, as a trace for Perfetto or
// chrome://tracing and as a table. It measures the stream that operators run on, and changes no
// number.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "runtime/core/context.h"
#include "runtime/core/timeline.h"

namespace tessera::launch {

class Profile {
 public:
  /// The context outlives it.
  explicit Profile(Context& ctx) : ctx_(ctx) {}
  ~Profile() { ctx_.set_timeline(nullptr); }
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;

  /// Before and after each step of the run. The first step of a start is not measured: it makes
  /// what the others find there.
  void begin_step();
  void end_step(int64_t step);
  /// Whether all that is to be measured has been.
  bool complete() const { return steps_.size() == kSteps; }
  bool empty() const { return steps_.empty(); }

  /// JSON in the Trace Event Format: a slice for each step, in it one for each layer's turn, in it
  /// one for each operator.
  std::string trace(int rank) const;
  /// Milliseconds of a step by operator and by what is done with a layer, as lines of text.
  std::vector<std::string> table() const;

 private:
  static constexpr size_t kSteps = 3;
  struct Step {
    int64_t number;
    std::vector<TimelineSpan> spans;
  };

  Context& ctx_;
  std::optional<Timeline> timeline_;
  bool warm_ = false;
  std::vector<Step> steps_;
};

}  // namespace tessera::launch
