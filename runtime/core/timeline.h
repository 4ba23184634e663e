// What the time of operators goes to, measured on the stream that they run on. A context without a
// timeline measures nothing.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "runtime/core/error.h"
#include "runtime/core/stream.h"

namespace tessera {

/// What the time of a step is made of.
enum class ComputePart : uint8_t {
  kProducts,
  kAttention,
  kAdapters,
  kElementwise,
  kDequantize,
  kHead,
  kGather,    // waiting for a layer to be whole
  kExchange,  // of gradients and losses between ranks
  kOptimizer,
};
inline constexpr std::array<std::string_view, 9> kPartNames = {
    "products", "attention", "adapters", "elementwise", "dequantize",
    "head",     "gather",    "exchange", "optimizer"};
static_assert(kPartNames.size() == size_t(ComputePart::kOptimizer) + 1);
using ComputeParts = std::array<double, kPartNames.size()>;  // seconds

/// Where in a pass an operator runs.
struct TimelinePlace {
  int32_t layer = -1;          // -1: outside of the layers
  std::string_view work = {};  // what is done with it: forward, again, backward; a literal

  bool operator==(const TimelinePlace&) const = default;
};

/// A stretch of the stream's time.
struct TimelineSpan {
  ComputePart part;
  TimelinePlace place;
  double begin;  // seconds since the timeline's first mark
  double seconds;
};

class Timeline {
 public:
  /// Of a stream that outlives it; elementwise work until somebody says otherwise.
  explicit Timeline(Stream& stream);

  ComputePart now() const { return marks_.back().part; }
  /// From here on the stream does `part`.
  void enter(ComputePart part);
  /// From here on the stream is at `place`.
  void at(TimelinePlace place);
  /// The last `seconds` until now were `part`, as far as they are of what the stream does now. For
  /// operators of the CPU whose threads do two things in turn.
  void attribute(ComputePart part, double seconds);
  /// Seconds of each part since the last call of this or of spans(); waits for the stream. Where
  /// the stream itself waited, that counts for the part it was to do.
  ComputeParts take();
  /// Likewise, each stretch by itself.
  std::vector<TimelineSpan> spans();

 private:
  struct Mark {
    std::shared_ptr<void> event;                 // of a device
    std::chrono::steady_clock::time_point time;  // of the CPU
    ComputePart part;                            // from here on
    TimelinePlace place;                         // likewise
  };
  void mark(ComputePart part, TimelinePlace place);
  double seconds_between(const Mark& from, const Mark& to) const;

  Stream& stream_;
  std::vector<Mark> marks_;
  double taken_ = 0;  // seconds before marks_
};

/// Says where a pass is, if anybody measures.
inline void mark_place(Timeline* timeline, int64_t layer, std::string_view work) {
  if (timeline) timeline->at({int32_t(layer), work});
}

/// While it lives, operators do `part`, unless one within says otherwise; all that the head does is
/// the head's.
class PartScope {
 public:
  /// A null timeline: nothing.
  PartScope(Timeline* timeline, ComputePart part) : timeline_(timeline), before_(part) {
    if (timeline_ && timeline_->now() == ComputePart::kHead) timeline_ = nullptr;
    if (!timeline_) return;
    before_ = timeline_->now();
    timeline_->enter(part);
  }
  ~PartScope() {
    if (!timeline_) return;
    try {  // perhaps because of an exception
      timeline_->enter(before_);
    } catch (const Error&) {  // a device that failed tells whoever waits for it next
    }
  }
  PartScope(const PartScope&) = delete;
  PartScope& operator=(const PartScope&) = delete;

 private:
  Timeline* timeline_;
  ComputePart before_;
};

}  // namespace tessera
