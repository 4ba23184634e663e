#include "runtime/core/timeline.h"

#include "runtime/core/cuda_runtime.h"
#include "runtime/core/has_cuda.h"

namespace tessera {

Timeline::Timeline(Stream& stream) : stream_(stream) { enter(ComputePart::kElementwise); }

void Timeline::enter(ComputePart part) {
  Mark mark{nullptr, std::chrono::steady_clock::now(), part};
  if constexpr (kHasCuda) {
    if (stream_.handle()) mark.event = cuda::record_timed(stream_.handle());
  }
  marks_.push_back(std::move(mark));
}

double Timeline::seconds_between(const Mark& from, const Mark& to) const {
  if constexpr (kHasCuda) {
    if (stream_.handle()) return cuda::seconds_between(from.event.get(), to.event.get());
  }
  return std::chrono::duration<double>(to.time - from.time).count();
}

ComputeParts Timeline::take() {
  enter(now());
  stream_.synchronize();
  ComputeParts seconds{};
  for (size_t i = 1; i < marks_.size(); ++i) {
    seconds[size_t(marks_[i - 1].part)] += seconds_between(marks_[i - 1], marks_[i]);
  }
  marks_ = {marks_.back()};
  return seconds;
}

}  // namespace tessera
