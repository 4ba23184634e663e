// How state is cut: by tensor, by range and into pages.
#include "optim/state_layout.h"

#include <gtest/gtest.h>

#include <map>

namespace tessera::optim {
namespace {

const std::vector<StateSegment> kTable = {{0, 5000, StateBits::k8},
                                          {5120, 100, StateBits::k32},
                                          {5376, 300, StateBits::k32},
                                          {5888, 4096, StateBits::k8}};
constexpr size_t kEnd = 5888 + 4096;
constexpr std::string_view kNames[] = {"exp_avg", "exp_avg_sq"};
constexpr size_t kMoments = 2;

TEST(StateLayout, GivesSmallTensors32Bits) {
  EXPECT_EQ(state_bits(4095, StateBits::k8), StateBits::k32);
  EXPECT_EQ(state_bits(4096, StateBits::k8), StateBits::k8);
  EXPECT_EQ(state_bits(1 << 20, StateBits::k32), StateBits::k32);
}

TEST(StateLayout, JoinsNeighboursOfOneWidth) {
  const auto runs = state_runs(kTable, {0, kEnd});
  ASSERT_EQ(runs.size(), 3u);
  EXPECT_EQ(runs[0].end, 5120u);
  EXPECT_EQ(runs[1].begin, 5120u);
  EXPECT_EQ(runs[1].end, 5888u);
  EXPECT_EQ(runs[0].bytes(kMoments), 20u * 520);
  EXPECT_EQ(runs[1].bytes(kMoments), 3u * 2048);
  EXPECT_EQ(runs[0].bytes(1), 20u * 260);
  EXPECT_EQ(runs[1].bytes(1), 3u * 1024);
  const auto inner = state_runs(kTable, {4096, 5376});
  ASSERT_EQ(inner.size(), 2u);
  EXPECT_EQ(inner[0].begin, 4096u);
  EXPECT_EQ(inner[1].end, 5376u);
  EXPECT_TRUE(state_runs(kTable, {4096, 4096}).empty());
}

TEST(StateLayout, RefusesCutsInsideABlock) {
  EXPECT_THROW(state_runs(kTable, {100, kEnd}), std::logic_error);
  EXPECT_THROW(state_runs(kTable, {0, 300}), std::logic_error);
  EXPECT_THROW(state_runs(kTable, {0, kEnd + 256}), std::logic_error);
  EXPECT_THROW(state_runs(kTable, {512, 256}), std::logic_error);
  const std::vector<StateSegment> gap = {{0, 256, StateBits::k32}, {512, 256, StateBits::k32}};
  EXPECT_THROW(state_runs(gap, {0, 768}), std::logic_error);
  const std::vector<StateSegment> odd = {{0, 300, StateBits::k32}};
  EXPECT_EQ(state_runs(odd, {0, 300}).back().end, 300u);
  EXPECT_EQ(state_runs(odd, {0, 512}).back().end, 512u);
}

TEST(StateLayout, PagesHoldEveryBlockOnceAndFit) {
  const auto runs = state_runs(kTable, {0, kEnd});
  for (size_t page_bytes : {2048, 2600, 4096, 5000, 1 << 20}) {
    size_t next = 0, bytes = 0;
    for (const StatePage& page : cut_pages(runs, kMoments, page_bytes)) {
      EXPECT_LE(page.bytes, page_bytes);
      size_t offset = 0;
      for (const StatePart& part : page.parts) {
        EXPECT_EQ(part.run.begin, next);
        EXPECT_EQ(part.offset, offset);
        EXPECT_EQ(part.run.begin % kStateBlock, 0u);
        next = part.run.end;
        offset += part.run.bytes(kMoments);
      }
      EXPECT_EQ(page.bytes, offset);
      bytes += offset;
    }
    EXPECT_EQ(next, kEnd);
    size_t all = 0;
    for (const StateRun& run : runs) all += run.bytes(kMoments);
    EXPECT_EQ(bytes, all);
  }
}

TEST(StateLayout, ArraysOfRangesAddUp) {
  const auto sizes = [](ElementRange range) {
    std::map<std::string, uint64_t> items;
    for (const StateArray& array : state_arrays(kNames, kTable, range)) {
      items[array.name] = array.elements;
    }
    return items;
  };
  EXPECT_EQ(sizes({0, kEnd}), (std::map<std::string, uint64_t>{{"exp_avg", 768},
                                                               {"exp_avg_sq", 768},
                                                               {"exp_avg_codes", 9216},
                                                               {"exp_avg_sq_codes", 9216},
                                                               {"exp_avg_absmax", 36},
                                                               {"exp_avg_sq_absmax", 36}}));
  for (size_t cut = 0; cut <= kEnd; cut += 256) {
    auto joined = sizes({0, cut});
    for (const auto& [name, items] : sizes({cut, kEnd})) joined[name] += items;
    EXPECT_EQ(joined, sizes({0, kEnd})) << cut;
  }
  const std::vector<StateSegment> plain = {{0, 300, StateBits::k32}};
  const auto arrays = state_arrays(kNames, plain, {0, 300});
  ASSERT_EQ(arrays.size(), 2u);
  EXPECT_EQ(arrays[0].name, "exp_avg");
  EXPECT_EQ(arrays[0].dtype, DType::kF32);
  EXPECT_EQ(arrays[0].elements, 300u);
}

}  // namespace
}  // namespace tessera::optim
