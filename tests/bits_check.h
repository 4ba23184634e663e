// The promise of one result: an operator gives the same bits on any thread count and on AVX2 as on
// AVX-512 (where this CPU has both).
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <vector>

#include "hwy/targets.h"
#include "runtime/core/context.h"

namespace tessera::testing {

/// A CPU context that computes (one with no scratch only measures). Fills in place: a Context does
/// not move.
inline void give_scratch(Context& ctx) { ctx.set_scratch(Arena(size_t{1} << 20)); }

/// `run` computes from constant inputs; its result must not depend on the context it gets.
inline void expect_same_bits(const std::function<std::vector<float>(Context&)>& run) {
  const auto with_threads = [&](int threads) {
    Context ctx(Device::cpu(), threads, 0);
    give_scratch(ctx);
    return run(ctx);
  };
  const auto same = [](const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
  };
  const std::vector<float> expected = with_threads(1);
  for (int threads : {2, 3, 4}) EXPECT_TRUE(same(expected, with_threads(threads))) << threads;
  hwy::SetSupportedTargetsForTest(HWY_AVX2);
  EXPECT_TRUE(same(expected, with_threads(2))) << "on AVX2";
  hwy::SetSupportedTargetsForTest(0);
}

}  // namespace tessera::testing
