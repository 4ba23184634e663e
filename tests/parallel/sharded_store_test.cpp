// The store deals every byte to the right rank in every mode, and gathers what was dealt.
#include "parallel/sharded_store.h"

#include <gtest/gtest.h>

#include <atomic>
#include <numeric>
#include <random>

#include "parallel/layer_scheduler.h"
#include "parallel/self_communicator.h"
#include "parallel/thread_communicator.h"
#include "tests/bits_check.h"
#include "tests/expect_error.h"
#include "tests/passing_communicator.h"

namespace tessera::parallel {
namespace {

using Mode = Sharding::Mode;

constexpr size_t kLayerBytes[] = {10'000, 777, 256, 123'457};

std::byte byte_of(int64_t layer, size_t offset) {
  return std::byte(uint8_t(size_t(layer) * 131 + offset * 7 + offset / 256));
}

/// Cuts all layers into parts of random size and lets the ranks distribute them, one each a round.
void fill(ShardedStore& store, Communicator& world) {
  std::mt19937 random(5);  // the same parts on every rank
  std::vector<BlobPart> parts;
  for (int64_t layer = 0; layer < store.layers(); ++layer) {
    for (size_t offset = 0; offset < store.layer_bytes(layer);) {
      const size_t bytes =
          std::min<size_t>(1 + random() % 40'000, store.layer_bytes(layer) - offset);
      parts.push_back({layer, offset, bytes});
      offset += bytes;
    }
  }
  const auto ranks = size_t(world.size());
  for (size_t first = 0; first < parts.size(); first += ranks) {
    std::vector<BlobPart> round(ranks, {0, 0, 0});
    for (size_t r = 0; r < ranks && first + r < parts.size(); ++r) round[r] = parts[first + r];
    const BlobPart& mine = round[size_t(world.rank())];
    std::vector<std::byte> bytes(mine.bytes);
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = byte_of(mine.layer, mine.offset + i);
    store.distribute(round, bytes);
  }
  store.finish_loading();
}

void expect_layer(std::span<const std::byte> blob, int64_t layer, const std::string& what) {
  for (size_t i = 0; i < kLayerBytes[layer]; ++i) {
    ASSERT_EQ(blob[i], byte_of(layer, i)) << what << ", layer " << layer << ", byte " << i;
  }
}

void check(int ranks, int per_node, Sharding sharding) {
  const std::string what =
      fmt::format("{} ranks, {} a node, mode {}", ranks, per_node, int(sharding.mode));
  run_ranks(ranks, per_node, [&](Communicator& world) {
    Context ctx(Device::cpu(), 1, 0);
    ShardedStore store(ctx, world, sharding, kLayerBytes);
    fill(store, world);
    for (int64_t layer = 0; layer < store.layers(); ++layer) {
      if (store.in_place()) {
        expect_layer(store.whole(layer), layer, what);
        continue;
      }
      std::vector<std::byte> slot(store.padded_bytes(layer));
      store.gather(layer, slot);
      expect_layer(slot, layer, what);
    }
    world.barrier();
  });
}

TEST(ShardedStore, EveryModeHoldsAndGathersEveryByte) {
  for (int ranks : {1, 2, 3, 4, 7, 8}) {
    check(ranks, ranks, {Mode::kReplicate, 0});
    check(ranks, ranks, {Mode::kFull, 0});
    check(ranks, 1, {Mode::kFull, 0});
    check(ranks, 2, {Mode::kFull, 0});
    check(ranks, 3, {Mode::kHybrid, 0});
    check(ranks, 3, {Mode::kHost, 0});
    check(ranks, ranks, {Mode::kHost, 0});
    if (ranks % 2 == 0) check(ranks, 1, {Mode::kHybrid, 2});
  }
}

TEST(ShardedStore, BytesPerRankTimesRanksAreTheTotal) {
  const std::vector<size_t> layers(4, 3'000'001);
  for (int ranks = 1; ranks <= 8; ++ranks) {
    std::vector<size_t> held(static_cast<size_t>(ranks));
    run_ranks(ranks, [&](Communicator& world) {
      Context ctx(Device::cpu(), 1, 0);
      held[size_t(world.rank())] =
          ShardedStore(ctx, world, {Mode::kFull, 0}, layers).resident_bytes();
    });
    for (size_t bytes : held) {
      EXPECT_NEAR(double(bytes) * ranks, 12e6, 12e4) << ranks;
      EXPECT_EQ(bytes, held[0]);
    }
  }
}

TEST(ShardedStore, RefusesGroupsThatDoNotDivideTheRanks) {
  testing::expect_error(
      [] {
        run_ranks(3, [](Communicator& world) {
          Context ctx(Device::cpu(), 1, 0);
          ShardedStore(ctx, world, {Mode::kHybrid, 2}, kLayerBytes);
        });
      },
      "3 ranks", "groups of 2", "sharding_group");
}

/// Counts the bytes that gathers bring from other ranks.
class CountingCommunicator final : public testing::PassingCommunicator {
 public:
  CountingCommunicator(std::unique_ptr<Communicator> inner, std::atomic<uint64_t>& bytes)
      : PassingCommunicator(std::move(inner)), bytes_(bytes) {}
  CountingCommunicator(Communicator& inner, std::atomic<uint64_t>& bytes)
      : PassingCommunicator(inner), bytes_(bytes) {}

  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    inner_.all_gather(mine, all);
    bytes_ += all.size() - mine.size();
  }
  std::unique_ptr<Communicator> split(int colour) override {
    return std::make_unique<CountingCommunicator>(inner_.split(colour), bytes_);
  }

 private:
  std::atomic<uint64_t>& bytes_;
};

/// Acquires the layers of two passes, and sees that each is whole.
void walk(Context& ctx, ShardedStore& store, const std::vector<LayerGroup>& groups) {
  LayerScheduler scheduler(ctx, store);
  scheduler.set_groups(groups);
  for (int pass = 0; pass < 2; ++pass) {
    for (const Visit& visit : scheduler.begin_pass(true)) {
      const LayerLease lease = scheduler.acquire(visit.layer);
      expect_layer({lease.data(), store.padded_bytes(visit.layer)}, visit.layer, "lease");
    }
  }
  ctx.comm_stream().synchronize();
}

TEST(LayerScheduler, GathersEachLayerOncePerDirection) {
  run_ranks(3, 1, [&](Communicator& ranks) {  // no shared memory: each gather is a call
    Context ctx(Device::cpu(), 1, 0);
    std::atomic<uint64_t> gathered = 0;
    CountingCommunicator world(ranks, gathered);
    ShardedStore store(ctx, world, {Mode::kFull, 0}, kLayerBytes);
    fill(store, world);
    testing::give_scratch(ctx);
    const auto others = [&](int64_t layer) { return store.padded_bytes(layer) * 2 / 3; };
    // Forward 0 1 2 3, backward 3 2 1 0: the two layers at each turn are still in their slots.
    uint64_t expected = others(0) + others(1) + others(2) + others(3) + others(1) + others(0);
    expected += others(2) + others(3) + others(1) + others(0);  // the second pass
    for (Policy policy : {Policy::kKeep, Policy::kRecompute}) {
      gathered = 0;
      walk(ctx, store, uniform_groups(4, policy, 1));
      EXPECT_EQ(gathered, expected);
    }
    walk(ctx, store, uniform_groups(4, Policy::kOffload, 2));
    walk(ctx, store, {{0, 3, Policy::kRecompute}, {3, 1, Policy::kKeep}});
    world.barrier();
  });
}

TEST(Schedule, VisitsAGroupUpAndThenDown) {
  const std::vector<LayerGroup> groups = {
      {0, 1, Policy::kOffload}, {1, 2, Policy::kRecompute}, {3, 1, Policy::kRecompute}};
  using enum Work;
  EXPECT_EQ(
      visits_of(groups, true),
      (std::vector<Visit>{
          {.layer = 0, .work = kForward, .begins = true, .ends = true, .offloads = true},
          {.layer = 1, .work = kForward, .begins = true},
          {.layer = 2, .work = kForward, .ends = true},
          // The last group is kept, whatever it is asked for.
          {.layer = 3, .work = kForward, .begins = true, .ends = true, .keeps = true},
          {.layer = 3, .work = kBackward, .begins = true, .ends = true},
          {.layer = 1, .work = kAgain, .begins = true, .keeps = true},
          {.layer = 2, .work = kAgain, .ends = true, .keeps = true},
          {.layer = 2, .work = kBackward, .begins = true},
          {.layer = 1, .work = kBackward, .ends = true},
          {.layer = 0, .work = kAgain, .begins = true, .ends = true, .keeps = true, .takes = true},
          {.layer = 0, .work = kBackward, .begins = true, .ends = true}}));
  const std::vector<Visit> forward = visits_of(groups, false);
  ASSERT_EQ(forward.size(), 4u);
  for (size_t i = 0; i < forward.size(); ++i) {
    EXPECT_EQ(forward[i].layer, int64_t(i));
    EXPECT_FALSE(forward[i].keeps || forward[i].offloads);
  }
}

TEST(Schedule, LooksAheadToTheNextOtherLayer) {
  const std::vector<LayerGroup> groups = {{0, 2, Policy::kRecompute}, {2, 1, Policy::kKeep}};
  // Forward 0 1 2, backward 2, again 0 1, backward 1 0.
  const std::vector<Visit> visits = visits_of(groups, true);
  std::vector<int64_t> ahead, unread;
  for (size_t i = 0; i < visits.size(); ++i) {
    ahead.push_back(next_gather(visits, i).value_or(-1));
    if (!visits[i].needs_output()) unread.push_back(int64_t(i));
  }
  EXPECT_EQ(ahead, (std::vector<int64_t>{1, 2, 0, 0, 1, 0, 0, -1}));
  EXPECT_EQ(unread, (std::vector<int64_t>{5}));
}

TEST(LayerScheduler, WantsGroupsOfAllLayersAndThatOrder) {
  SelfCommunicator self;
  Context ctx(Device::cpu(), 1, 0);
  ShardedStore store(ctx, self, {}, kLayerBytes);
  LayerScheduler scheduler(ctx, store);
  EXPECT_THROW(scheduler.set_groups({{0, 3, Policy::kKeep}}), std::logic_error);
  EXPECT_THROW(scheduler.set_groups({{0, 2, Policy::kKeep}, {3, 1, Policy::kKeep}}),
               std::logic_error);
  scheduler.begin_pass(false);
  EXPECT_THROW(scheduler.acquire(1), std::logic_error);  // out of turn
}

TEST(LayerScheduler, AnIdleRankJoinsTheGathersOfTheOthers) {
  run_ranks(2, 1, [&](Communicator& world) {  // no shared memory: gathers are collective
    Context ctx(Device::cpu(), 1, 0);
    ShardedStore store(ctx, world, {Mode::kFull, 0}, kLayerBytes);
    fill(store, world);
    testing::give_scratch(ctx);
    ASSERT_TRUE(store.gathers_together());
    LayerScheduler scheduler(ctx, store);
    if (world.rank() == 1) return scheduler.idle_pass(true);
    for (const Visit& visit : scheduler.begin_pass(true)) {
      const LayerLease lease = scheduler.acquire(visit.layer);
      expect_layer({lease.data(), store.padded_bytes(visit.layer)}, visit.layer, "lease");
    }
  });
}

}  // namespace
}  // namespace tessera::parallel
