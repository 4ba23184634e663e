// How the time of a stream is divided, on the CPU, where the calling thread is the stream.
#include "runtime/core/timeline.h"

#include <gtest/gtest.h>

#include <chrono>
#include <numeric>

namespace tessera {
namespace {

/// Time passes.
void work() {
  const auto begun = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() == begun) {
  }
}

TEST(Timeline, WhatIsWithinCountsForItself) {
  Stream stream = Stream::of_operators(Device::cpu());
  const auto begun = std::chrono::steady_clock::now();
  Timeline timeline(stream);
  {
    const PartScope products(&timeline, ComputePart::kProducts);
    work();
    const PartScope dequantize(&timeline, ComputePart::kDequantize);
    work();
  }
  work();
  const ComputeParts seconds = timeline.take();
  const std::chrono::duration<double> all = std::chrono::steady_clock::now() - begun;
  EXPECT_GT(seconds[size_t(ComputePart::kProducts)], 0.0);
  EXPECT_GT(seconds[size_t(ComputePart::kDequantize)], 0.0);
  EXPECT_GT(seconds[size_t(ComputePart::kElementwise)], 0.0);
  EXPECT_EQ(seconds[size_t(ComputePart::kHead)], 0.0);
  EXPECT_LE(std::accumulate(seconds.begin(), seconds.end(), 0.0), all.count());
}

TEST(Timeline, AllThatTheHeadDoesIsTheHeads) {
  Stream stream = Stream::of_operators(Device::cpu());
  Timeline timeline(stream);
  {
    const PartScope head(&timeline, ComputePart::kHead);
    const PartScope products(&timeline, ComputePart::kProducts);
    work();
  }
  EXPECT_EQ(timeline.now(), ComputePart::kElementwise);
  const ComputeParts seconds = timeline.take();
  EXPECT_GT(seconds[size_t(ComputePart::kHead)], 0.0);
  EXPECT_EQ(seconds[size_t(ComputePart::kProducts)], 0.0);
  // Each time is taken once.
  EXPECT_EQ(timeline.take()[size_t(ComputePart::kHead)], 0.0);
}

TEST(Timeline, WhatThreadsSayOfThemselvesIsPartOfWhatTheyDo) {
  Stream stream = Stream::of_operators(Device::cpu());
  Timeline timeline(stream);
  const PartScope products(&timeline, ComputePart::kProducts);
  work();
  timeline.attribute(ComputePart::kDequantize, 1e-9);
  EXPECT_EQ(timeline.now(), ComputePart::kProducts);
  ComputeParts seconds = timeline.take();
  EXPECT_DOUBLE_EQ(seconds[size_t(ComputePart::kDequantize)], 1e-9);
  EXPECT_GT(seconds[size_t(ComputePart::kProducts)], 0.0);

  work();
  timeline.attribute(ComputePart::kDequantize, 1e9);  // more than there was
  seconds = timeline.take();
  EXPECT_GT(seconds[size_t(ComputePart::kDequantize)], 0.0);
  EXPECT_LT(seconds[size_t(ComputePart::kDequantize)], 1e6);
}

TEST(Timeline, NoneMeasuresNothing) { const PartScope part(nullptr, ComputePart::kProducts); }

}  // namespace
}  // namespace tessera
