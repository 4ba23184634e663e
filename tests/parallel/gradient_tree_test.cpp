// The canonical gradient sum: equal to a naive recursion, whatever the split over ranks.
#include "parallel/gradient_tree.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <iterator>
#include <optional>
#include <random>
#include <vector>

#include "parallel/self_communicator.h"
#include "parallel/thread_communicator.h"
#include "tests/bits_check.h"

namespace tessera::parallel {
namespace {

using Vector = std::vector<float>;

constexpr size_t kElements = 37;

/// Values of very different sizes, so that every order of a sum has bits of its own.
Vector gradient(int64_t micro_batch) {
  std::mt19937 rng(uint32_t(micro_batch + 1));
  std::uniform_real_distribution<float> mantissa(-1.0f, 1.0f);
  std::uniform_int_distribution<int> exponent(-20, 20);
  Vector values(kElements);
  for (float& x : values) x = std::ldexp(mantissa(rng), exponent(rng));
  return values;
}

/// The definition: node [start, start + size), nothing where it begins at or after `total`.
std::optional<Vector> node(int64_t start, int64_t size, int64_t total) {
  if (start >= total) return std::nullopt;
  if (size == 1) return gradient(start);
  auto left = node(start, size / 2, total);
  const auto right = node(start + size / 2, size / 2, total);
  if (!right) return left;
  for (size_t i = 0; i < kElements; ++i) (*left)[i] += (*right)[i];
  return left;
}

Vector naive(int64_t total) { return *node(0, int64_t(std::bit_ceil(uint64_t(total))), total); }

void push_all(GradientTree& tree, MicroBatchRange range) {
  for (int64_t i = range.first; i < range.first + range.count; ++i) {
    // In two parts: a micro-batch's gradients are accumulated layer by layer.
    const Vector values = gradient(i);
    for (size_t e = 0; e < kElements / 2; ++e) tree.leaf()[e] += values[e];
    for (size_t e = kElements / 2; e < kElements; ++e) tree.leaf()[e] += values[e];
    tree.push();
  }
}

Vector to_vector(std::span<const float> values) { return {values.begin(), values.end()}; }

TEST(GradientTree, EqualsTheNaiveTree) {
  Context ctx(Device::cpu(), 2, 0);
  testing::give_scratch(ctx);
  SelfCommunicator self;
  for (int64_t total = 1; total <= 33; ++total) {
    GradientTree tree(ctx, kElements, self);
    tree.begin_step({0, total});
    push_all(tree, {0, total});
    EXPECT_EQ(to_vector(tree.reduce(total)), naive(total)) << total;
  }
}

/// Every range through a tree of its own, as its rank would; then all pieces in rank order.
Vector combined_over(Context& ctx, const std::vector<MicroBatchRange>& ranges, int64_t total) {
  SelfCommunicator self;
  std::vector<GradientTree> ranks;
  std::vector<GradientPiece> pieces;
  for (const MicroBatchRange& range : ranges) {
    GradientTree& tree = ranks.emplace_back(ctx, kElements, self);
    tree.begin_step(range);
    push_all(tree, range);
    std::ranges::copy(tree.pieces(), std::back_inserter(pieces));
  }
  return to_vector(combine_pieces(ctx, pieces, total).first(kElements));
}

TEST(GradientTree, SameBitsForAnyContiguousSplit) {
  Context ctx(Device::cpu(), 1, 0);
  testing::give_scratch(ctx);
  std::mt19937 rng(7);
  for (int64_t total = 1; total <= 33; ++total) {
    const Vector expected = naive(total);
    for (int ranks = 1; ranks <= 9; ++ranks) {
      std::vector<MicroBatchRange> ranges;
      for (int r = 0; r < ranks; ++r) ranges.push_back(micro_batches_of(r, ranks, total));
      EXPECT_EQ(combined_over(ctx, ranges, total), expected) << total << " over " << ranks;
    }
    for (int trial = 0; trial < 10; ++trial) {
      std::vector<MicroBatchRange> ranges;
      for (int64_t first = 0; first < total;) {
        const int64_t count = 1 + int64_t(rng()) % (total - first);
        ranges.push_back({first, count});
        first += count;
      }
      EXPECT_EQ(combined_over(ctx, ranges, total), expected) << total << " trial " << trial;
    }
  }
}

TEST(GradientTree, NodesOfEquallyManyRanksThatFollowEachOtherAreAGrid) {
  const auto grid = [](std::vector<int> nodes) {
    const NodeGrid g = node_grid(nodes);
    return std::pair(g.nodes, g.members);
  };
  EXPECT_EQ(grid({0}), std::pair(1, 1));
  EXPECT_EQ(grid({0, 0, 0}), std::pair(1, 3));
  EXPECT_EQ(grid({0, 1, 2}), std::pair(3, 1));
  EXPECT_EQ(grid({0, 0, 2, 2, 4, 4}), std::pair(3, 2));
  EXPECT_EQ(grid({0, 0, 2}), std::pair(3, 1));
  EXPECT_EQ(grid({0, 1, 1, 1}), std::pair(4, 1));
  EXPECT_EQ(grid({0, 1, 0, 1}), std::pair(4, 1));
}

struct RanksOnNodes {
  int ranks;
  int per_node;
  int64_t total;
};

/// Every rank's step over its micro-batches: the whole sum by both ways, and what it holds.
void expect_the_naive_sum(const RanksOnNodes& c, Communicator& world) {
  SCOPED_TRACE(fmt::format("rank {} of {}, {} a node, {} micro-batches", world.rank(), c.ranks,
                           c.per_node, c.total));
  Context ctx(Device::cpu(), 1, 0);
  testing::give_scratch(ctx);
  const Vector expected = naive(c.total);
  const NodeGrid grid = node_grid(gather_values(world, world.node()));
  GradientTree tree(ctx, kElements, world);
  for (int step = 0; step < 2; ++step) {
    const MicroBatchRange mine = micro_batches_of(world.rank(), c.ranks, c.total);
    tree.begin_step(mine);
    push_all(tree, mine);
    // Only the first slice holds anything: there are fewer elements than a slice has.
    const Vector slice = to_vector(tree.reduce_slice(c.total).first(kElements));
    EXPECT_EQ(slice, world.rank() == 0 ? expected : Vector(kElements, 0.0f));
    if (step == 0) {
      EXPECT_EQ(to_vector(tree.gather()), expected);
      continue;
    }
    Vector all(kElements);
    tree.gather_slices(std::span(slice).first(world.rank() == 0 ? kElements : 0), all);
    EXPECT_EQ(all, expected);
  }
  EXPECT_EQ(tree.bytes(),
            GradientTree::buffer_bytes(kElements, world.rank(), c.ranks, c.total) +
                GradientTree::exchange_bytes(kElements, grid, world.rank() / grid.members, c.total)
                    .all());
}

TEST(GradientTree, SameBitsOnAnyNodes) {
  for (const auto& [ranks, per_node] :
       {std::pair(2, 1), {2, 2}, {3, 1}, {3, 2}, {4, 2}, {6, 2}, {6, 3}, {8, 4}, {7, 4}}) {
    for (int64_t total : {1, 2, 3, 5, 8, 13, 16, 21, 33}) {
      run_ranks(ranks, per_node, [&](Communicator& world) {
        expect_the_naive_sum({ranks, per_node, total}, world);
      });
    }
  }
}

TEST(GradientTree, ANodeSendsItsSubtreesOnce) {
  // 64 ranks in nodes of 8, one micro-batch each: a node's ranks give one subtree of 8, and each of
  // its ranks gets the eighth that it passes on of 7 others. Alone, every rank would get 63 slices
  // of a 64th from elsewhere, 8 times as much a node.
  const size_t elements = 64 * kSliceUnit, slice_bytes = kSliceUnit * sizeof(float);
  const auto together = GradientTree::exchange_bytes(elements, {8, 8}, 0, 64);
  const auto alone = GradientTree::exchange_bytes(elements, {64, 1}, 0, 64);
  EXPECT_EQ(together.between, 8 * slice_bytes);
  EXPECT_EQ(alone.between, 64 * slice_bytes);
  EXPECT_EQ(alone.in_node, 0u);
}

TEST(GradientTree, PiecesAreTheMaximalAlignedSubtrees) {
  for (int64_t first = 0; first <= 20; ++first) {
    for (int64_t count = 0; count <= 20; ++count) {
      int64_t at = first;
      const auto pieces = pieces_of({first, count});
      for (const GradientPiece& piece : pieces) {
        EXPECT_EQ(piece.start, at);
        EXPECT_TRUE(std::has_single_bit(uint64_t(piece.size)));
        EXPECT_EQ(piece.start % piece.size, 0);
        at += piece.size;
        // Maximal: the parent does not lie in the range.
        const int64_t parent = piece.start / (2 * piece.size) * (2 * piece.size);
        EXPECT_TRUE(parent < first || parent + 2 * piece.size > first + count);
      }
      EXPECT_EQ(at, first + count);
    }
  }
}

TEST(GradientTree, DealsContiguousRangesOfNearlyEqualSize) {
  for (int ranks = 1; ranks <= 8; ++ranks) {
    for (int64_t total = 0; total <= 20; ++total) {
      int64_t next = 0;
      for (int r = 0; r < ranks; ++r) {
        const auto range = micro_batches_of(r, ranks, total);
        EXPECT_EQ(range.first, next);
        EXPECT_TRUE(range.count == total / ranks || range.count == total / ranks + 1);
        next += range.count;
      }
      EXPECT_EQ(next, total);
    }
  }
}

TEST(GradientTree, ReusesItsBuffersAndForgetsTheLastStep) {
  Context ctx(Device::cpu(), 1, 0);
  testing::give_scratch(ctx);
  SelfCommunicator self;
  GradientTree tree(ctx, kElements, self);
  for (int step = 0; step < 3; ++step) {
    tree.begin_step({0, 13});
    push_all(tree, {0, 13});
    EXPECT_EQ(to_vector(tree.reduce(13)), naive(13));
  }
  EXPECT_EQ(tree.bytes(), GradientTree::buffer_bytes(kElements, 0, 1, 13));
  // A step given up half-way, then a shorter one.
  tree.begin_step({0, 13});
  push_all(tree, {0, 3});
  tree.leaf()[0] = 1.0f;
  tree.begin_step({0, 5});
  push_all(tree, {0, 5});
  EXPECT_EQ(to_vector(tree.reduce(5)), naive(5));
  EXPECT_EQ(tree.bytes(), GradientTree::buffer_bytes(kElements, 0, 1, 13));
}

TEST(GradientTree, HoldsTheMaximalSubtreesInFewBuffers) {
  SelfCommunicator self;
  EXPECT_EQ(peak_buffers({0, 0}), 0);
  EXPECT_EQ(peak_buffers({0, 1}), 1);
  EXPECT_EQ(peak_buffers({0, 2}), 2);
  EXPECT_EQ(peak_buffers({0, 64}), 7);
  for (int64_t first = 0; first < 20; ++first) {
    for (int64_t count = 1; count < 40; ++count) {
      Context ctx(Device::cpu(), 1, 0);
      testing::give_scratch(ctx);
      GradientTree tree(ctx, 1, self);
      tree.begin_step({first, count});
      for (int64_t i = 0; i < count; ++i) {
        tree.leaf();
        tree.push();
      }
      const auto expected = pieces_of({first, count});
      ASSERT_EQ(tree.pieces().size(), expected.size());
      for (size_t i = 0; i < expected.size(); ++i) {
        EXPECT_EQ(tree.pieces()[i].start, expected[i].start);
        EXPECT_EQ(tree.pieces()[i].size, expected[i].size);
      }
      EXPECT_EQ(tree.bytes() / sizeof(float) / kSliceUnit, size_t(peak_buffers({first, count})));
      EXPECT_LE(peak_buffers({first, count}), 2 * int64_t(std::bit_width(uint64_t(count))));
    }
  }
}

TEST(GradientTree, SameBitsOnAnyThreadCount) {
  SelfCommunicator self;
  const size_t elements = 200001;
  const auto sum = [&](int threads) {
    Context ctx(Device::cpu(), threads, 0);
    testing::give_scratch(ctx);
    GradientTree tree(ctx, elements, self);
    tree.begin_step({0, 5});
    for (int i = 0; i < 5; ++i) {
      const auto leaf = tree.leaf();
      for (size_t e = 0; e < elements; ++e) leaf[e] = float(e % 97) / float(3 + i);
      tree.push();
    }
    return to_vector(tree.reduce(5));
  };
  EXPECT_EQ(sum(3), sum(1));
}

TEST(GradientTree, RefusesMisuse) {
  Context ctx(Device::cpu(), 1, 0);
  testing::give_scratch(ctx);
  SelfCommunicator self;
  GradientTree tree(ctx, kElements, self);
  tree.begin_step({0, 2});
  EXPECT_THROW(tree.push(), std::logic_error);     // no leaf
  EXPECT_THROW(tree.reduce(2), std::logic_error);  // not all pushed
  push_all(tree, {0, 2});
  EXPECT_THROW(tree.leaf(), std::logic_error);     // one too many
  EXPECT_THROW(tree.reduce(3), std::logic_error);  // not this rank's to finish alone
  Vector a(kElements), b(kElements);
  const std::vector<GradientPiece> hole = {{0, 1, a}, {2, 1, b}};
  EXPECT_THROW(combine_pieces(ctx, hole, 3), std::logic_error);
  const std::vector<GradientPiece> unaligned = {{0, 1, a}, {1, 2, b}};
  EXPECT_THROW(combine_pieces(ctx, unaligned, 3), std::logic_error);
}

}  // namespace
}  // namespace tessera::parallel
