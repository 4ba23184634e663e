// The decoder over a sharded base, with layers recomputed and offloaded in groups and with streams
// that are late at random: the gradients of a replicated, kept run, to the bit.
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <random>
#include <thread>

#include "lora/decoder/evaluation_pass.h"
#include "lora/decoder/training_pass.h"
#include "lora/model/loader.h"
#include "parallel/thread_communicator.h"
#include "tests/random_model.h"

namespace tessera::lora {
namespace {

using parallel::LayerGroup;
using parallel::Policy;
using parallel::Sharding;
using parallel::uniform_groups;
using Mode = parallel::Sharding::Mode;

constexpr int64_t kLayers = 6;

Batch batch_of(std::initializer_list<int> lengths) {
  testing::RandomNumbers random(4);
  Batch batch;
  batch.starts.push_back(0);
  for (int length : lengths) {
    for (int i = 0; i < length; ++i) {
      batch.ids.push_back(int32_t(random.bits() & 0xff));
      batch.targets.push_back(i % 3 == 0 ? Batch::kUnsupervised : int32_t(random.bits() & 0xff));
      batch.positions.push_back(i);
    }
    batch.starts.push_back(int32_t(batch.ids.size()));
  }
  return batch;
}

/// Sleeps for up to a millisecond before every other piece of work.
void make_late(Stream& stream, uint32_t seed) {
  stream.delay_work([random = std::make_shared<std::mt19937>(seed)] {
    const auto draw = (*random)();
    if (draw % 2 == 0) std::this_thread::sleep_for(std::chrono::microseconds(draw / 2 % 1000));
  });
}

class ShardedDecoder : public ::testing::Test {
 protected:
  void SetUp() override { testing::write_random_model(folder_, {.layers = kLayers}); }

  /// Losses and gradients of two micro-batches.
  std::vector<float> run(parallel::Communicator& world, Sharding sharding,
                         const std::vector<LayerGroup>& groups, std::optional<uint32_t> late) {
    Context ctx(Device::cpu(), 1, 7);
    if (late) {
      make_late(ctx.comm_stream(), *late + uint32_t(world.rank()));
      make_late(ctx.copy_stream(), *late + 100 + uint32_t(world.rank()));
    }
    const Checkpoint checkpoint = Checkpoint::open(folder_.path());
    BaseFormat format = checkpoint_format(checkpoint);
    format.linear = {&quant::kNf4Format};
    BaseWeights base(ctx, checkpoint.spec(), format, {world, sharding});
    load_base(ctx, checkpoint, base, world, [](int64_t, int64_t) {});
    parallel::LayerScheduler scheduler(ctx, base.store());
    scheduler.set_groups(groups);
    AdapterOptions options;
    options.r = 4;
    options.dropout = 0.1;
    AdapterSet adapters(checkpoint.spec(), options);
    testing::RandomNumbers random(11);
    for (float& value : adapters.params()) value = random.uniform(0.05f);
    std::vector<float> result(adapters.size(), 0.0f);
    adapters.set_gradient_buffer(result);
    Decoder decoder(ctx, base, scheduler, &adapters);
    TrainingPass training(decoder, default_loss());
    EvaluationPass evaluation(decoder, default_loss());
    training.plan(40);
    decoder.allocate();
    std::vector<float> losses;
    for (uint64_t i = 0; i < 2; ++i) {
      const Batch batch = i == 0 ? batch_of({13, 20, 7}) : batch_of({5});
      losses.push_back(float(training.forward(batch, {3, i}, 0.5f)));
      training.backward();
      losses.push_back(float(evaluation.loss(batch, nullptr)));
    }
    world.barrier();  // others may still read this rank's shards
    result.insert(result.end(), losses.begin(), losses.end());
    return result;
  }

  void expect_same(int ranks, int per_node, Sharding sharding,
                   const std::vector<LayerGroup>& groups, std::optional<uint32_t> late) {
    parallel::run_ranks(ranks, per_node, [&](parallel::Communicator& world) {
      EXPECT_EQ(run(world, sharding, groups, late), expected_) << "rank " << world.rank();
    });
  }

  testing::ScratchFolder folder_;
  std::vector<float> expected_;
};

TEST_F(ShardedDecoder, SameBitsUnderEveryPolicyAndDelay) {
  parallel::run_ranks(1, [&](parallel::Communicator& alone) {
    expected_ = run(alone, {}, uniform_groups(kLayers, Policy::kKeep, 1), {});
  });
  const std::vector<std::vector<LayerGroup>> policies = {
      uniform_groups(kLayers, Policy::kKeep, 1),
      uniform_groups(kLayers, Policy::kRecompute, 1),
      uniform_groups(kLayers, Policy::kRecompute, 2),
      uniform_groups(kLayers, Policy::kOffload, 1),
      uniform_groups(kLayers, Policy::kOffload, 4),
      {{0, 1, Policy::kOffload},
       {1, 2, Policy::kKeep},
       {3, 1, Policy::kRecompute},
       {4, 1, Policy::kOffload},
       {5, 1, Policy::kOffload}},
  };
  uint32_t seed = 1;
  for (const auto& groups : policies) {
    expect_same(1, 1, {}, groups, seed++);
    expect_same(2, 2, {Mode::kFull, 0}, groups, seed++);
    expect_same(3, 1, {Mode::kFull, 0}, groups, seed++);
  }
  expect_same(4, 2, {Mode::kHybrid, 0}, policies[3], seed++);
  expect_same(2, 2, {Mode::kHost, 0}, policies[5], seed++);
}

TEST_F(ShardedDecoder, PoliciesTradeActivationsAgainstHostMemory) {
  parallel::run_ranks(1, [&](parallel::Communicator& alone) {
    Context ctx(Device::cpu(), 1, 7);
    const Checkpoint checkpoint = Checkpoint::open(folder_.path());
    BaseWeights base(checkpoint.spec(), checkpoint_format(checkpoint), Device::cpu());
    parallel::LayerScheduler scheduler(ctx, base.store());
    Decoder decoder(ctx, base, scheduler, nullptr);
    const auto plan = [&](Policy policy, int64_t layers) {
      scheduler.set_groups(uniform_groups(kLayers, policy, layers));
      return TrainingPass(decoder, default_loss()).plan(100);
    };
    const size_t input = 100 * 64 * sizeof(float);  // 25 blocks of the arena
    const auto keep = plan(Policy::kKeep, 1), recompute = plan(Policy::kRecompute, 1),
               offload = plan(Policy::kOffload, 1), pairs = plan(Policy::kRecompute, 2);
    EXPECT_LT(recompute.activations, keep.activations);
    EXPECT_EQ(keep.offloaded, 0u);
    EXPECT_EQ(recompute.offloaded, 0u);
    // All inputs but the last group's are in the host, and two buffers stand in for them.
    EXPECT_EQ(offload.offloaded, (kLayers - 1) * input);
    EXPECT_EQ(recompute.activations - offload.activations, (kLayers - 1 - 2) * input);
    EXPECT_GT(pairs.activations, recompute.activations);
    EXPECT_EQ(offload.scratch, keep.scratch);
  });
}

}  // namespace
}  // namespace tessera::lora
