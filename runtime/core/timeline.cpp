#include "runtime/core/timeline.h"

#include <algorithm>

#include "runtime/core/cuda_runtime.h"
#include "runtime/core/has_cuda.h"

namespace tessera {

Timeline::Timeline(Stream& stream) : stream_(stream) { mark(ComputePart::kElementwise, {}); }

void Timeline::enter(ComputePart part) { mark(part, marks_.back().place); }

void Timeline::at(TimelinePlace place) { mark(now(), place); }

void Timeline::mark(ComputePart part, TimelinePlace place) {
  Mark mark{nullptr, std::chrono::steady_clock::now(), part, place};
  if constexpr (kHasCuda) {
    if (stream_.handle()) mark.event = cuda::record_timed(stream_.handle());
  }
  marks_.push_back(std::move(mark));
}

void Timeline::attribute(ComputePart part, double seconds) {
  TESSERA_CHECK(!stream_.handle());
  using Clock = std::chrono::steady_clock;
  const Mark last = marks_.back();
  const auto now = Clock::now();
  const auto length = std::chrono::duration_cast<Clock::duration>(
      std::chrono::duration<double>(std::max(seconds, 0.0)));
  marks_.push_back({nullptr, std::max(last.time, now - length), part, last.place});
  marks_.push_back({nullptr, now, last.part, last.place});
}

double Timeline::seconds_between(const Mark& from, const Mark& to) const {
  if constexpr (kHasCuda) {
    if (stream_.handle()) return cuda::seconds_between(from.event.get(), to.event.get());
  }
  return std::chrono::duration<double>(to.time - from.time).count();
}

std::vector<TimelineSpan> Timeline::spans() {
  enter(now());
  stream_.synchronize();
  std::vector<TimelineSpan> spans;
  for (size_t i = 1; i < marks_.size(); ++i) {
    const Mark& mark = marks_[i - 1];
    const double seconds = seconds_between(mark, marks_[i]);
    spans.push_back({mark.part, mark.place, taken_, seconds});
    taken_ += seconds;
  }
  marks_ = {marks_.back()};
  return spans;
}

ComputeParts Timeline::take() {
  ComputeParts seconds{};
  for (const TimelineSpan& span : spans()) seconds[size_t(span.part)] += span.seconds;
  return seconds;
}

}  // namespace tessera
