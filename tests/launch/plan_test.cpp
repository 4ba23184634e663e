// The plan against the objects it speaks of: for every row and every rank, the bytes that were
// planned and the bytes that are held after a step with the largest batch.
#include "launch/plan/memory_model.h"
#include "launch/plan/optimizer_state.h"

#include <gtest/gtest.h>

#include <mutex>
#include <numeric>

#include "launch/plan/device_profile.h"
#include "launch/plan/planner.h"
#include "launch/run/loaded_model.h"
#include "launch/run/optimizer_parts.h"
#include "lora/decoder/training_pass.h"
#include "lora/model/loader.h"
#include "parallel/gradient_tree.h"
#include "parallel/thread_communicator.h"
#include "tests/expect_error.h"
#include "tests/random_model.h"

namespace tessera::launch {
namespace {

using parallel::Communicator;
using testing::expect_error;

/// Tokens in samples of the given lengths, all of them supervised.
lora::Batch batch_of(const std::vector<int32_t>& lengths) {
  lora::Batch batch;
  for (int32_t length : lengths) {
    batch.starts.push_back(int32_t(batch.ids.size()));
    for (int32_t i = 0; i < length; ++i) {
      batch.ids.push_back((i * 7 + length) % 250);
      batch.targets.push_back((i * 7 + length + 7) % 250);
      batch.positions.push_back(i);
    }
  }
  batch.starts.push_back(int32_t(batch.ids.size()));
  return batch;
}

struct Case {
  int model;
  int ranks;
  int per_node;
  std::vector<int32_t> lengths;  // of the samples in a micro-batch
  int64_t micro_batches;
  std::string settings;
};

class PlanTest : public ::testing::Test {
 protected:
  static constexpr testing::RandomModel kModels[] = {
      {.layers = 6, .hidden = 64, .ffn = 160, .heads = 4, .kv_heads = 2, .vocab = 256},
      {.layers = 5,
       .hidden = 48,
       .ffn = 136,
       .heads = 3,
       .kv_heads = 3,
       .vocab = 300,
       .tied = true},
      {.layers = 3, .hidden = 128, .ffn = 64, .heads = 2, .kv_heads = 1, .vocab = 1000},
  };

  static void SetUpTestSuite() {
    for (const testing::RandomModel& model : kModels) {
      folders_.push_back(std::make_unique<testing::ScratchFolder>());
      testing::write_random_model(*folders_.back(), model);
    }
  }
  static void TearDownTestSuite() { folders_.clear(); }

  Config config(int model, const std::string& settings) {
    const std::string path = folder_.write(
        "run.yml", "base_model: " + folders_[size_t(model)]->path() + "\n" + settings);
    return load_config(path, {});
  }

  /// What one rank holds after a step, by the objects themselves.
  RankMemory held(const Config& config, Communicator& world, const Case& c, const Plan& plan);
  void compare(const Case& c);

  static std::vector<std::unique_ptr<testing::ScratchFolder>> folders_;
  testing::ScratchFolder folder_;
};
std::vector<std::unique_ptr<testing::ScratchFolder>> PlanTest::folders_;

RankMemory PlanTest::held(const Config& config, Communicator& world, const Case& c,
                          const Plan& plan) {
  Context ctx(Device::cpu(), 1, 7);
  Console console(false);
  LoadedModel model(ctx, lora::Checkpoint::open(config.base_model), quantization(config),
                    {world, plan.sharding}, console);
  lora::AdapterSet adapters(model.spec(), adapter_options(config));
  adapters.init(7);
  lora::Decoder decoder(ctx, model.base(), model.scheduler(), &adapters);
  const auto segments = state_segments(adapters, config.optimizer.bits);
  const optim::ElementRange range = config.optimizer_sharding
                                        ? state_slice(adapters.size(), world.rank(), world.size())
                                        : optim::ElementRange{0, adapters.size()};
  optim::Optimizer optimizer(*config.optimizer.rule, segments, range, {},
                             page_options(config, Device::cpu()));
  parallel::GradientTree tree(ctx, adapters.size(), world);
  tree.begin_step({0, 1});
  adapters.set_gradient_buffer(tree.leaf());
  model.scheduler().set_groups(plan.groups);
  const lora::Batch batch = batch_of(c.lengths);
  lora::TrainingPass pass(decoder, lora::default_loss());
  pass.plan(batch.tokens());
  decoder.allocate();

  const auto mine = parallel::micro_batches_of(world.rank(), world.size(), c.micro_batches);
  const int64_t most = parallel::micro_batches_of(0, world.size(), c.micro_batches).count;
  tree.begin_step(mine);
  for (int64_t i = 0; i < most; ++i) {
    if (i >= mine.count) {
      pass.idle();
      continue;
    }
    adapters.set_gradient_buffer(tree.leaf());
    pass.forward(batch, {0, uint64_t(mine.first + i)}, 1.0f);
    pass.backward();
    tree.push();
  }
  std::span<const float> gradients;
  if (config.reduction == Reduction::kFast) {
    gradients = tree.reduce_fast().subspan(range.begin, range.size());
  } else {
    tree.reduce_slice(c.micro_batches);
    gradients = tree.gather().subspan(range.begin, range.size());
  }
  optimizer.step(ctx, adapters.params().subspan(range.begin, range.size()), gradients, 1e-3, 1.0f);

  const lora::Decoder::Memory used = decoder.high_water();
  const optim::PageMemory pages = optimizer.memory();
  RankMemory m;
  m.base = model.base().store().resident_bytes();
  m.slots = model.scheduler().slot_bytes();
  m.outer = model.base().outer().resident_bytes();
  m.adapters = adapters.params().size_bytes();
  m.gradients = tree.bytes();  // both rows of the plan
  m.optimizer = pages.resident + pages.staging;
  m.activations = used.activations;
  m.workspace = used.scratch;
  m.tables = used.tables;
  m.offloaded = used.offloaded;
  m.pages = pages.host;
  m.page_file = pages.file;
  world.barrier();
  return m;
}

void PlanTest::compare(const Case& c) {
  const Config config = this->config(c.model, c.settings);
  std::vector<int> nodes;
  for (int r = 0; r < c.ranks; ++r) nodes.push_back(r / c.per_node * c.per_node);
  const lora::Checkpoint checkpoint = lora::Checkpoint::open(config.base_model);
  PlanInput input =
      plan_input(config, checkpoint.spec(), lora::checkpoint_format(checkpoint), nodes, false);
  input.tokens = std::accumulate(c.lengths.begin(), c.lengths.end(), int64_t{0});
  input.micro_batches = c.micro_batches;
  const Plan plan = choose_plan(config, input, nominal_cpu(), {});
  MemoryModel model(input);
  const lora::Decoder::Memory activity = model.activity(plan.groups);

  std::mutex mutex;
  size_t planned_total = 0, held_total = 0;
  parallel::run_ranks(c.ranks, c.per_node, [&](Communicator& world) {
    const RankMemory is = held(config, world, c, plan);
    RankMemory planned = model.rank(world.rank(), plan.sharding, activity);
    const std::scoped_lock lock(mutex);
    planned_total += planned.device() + planned.host();
    planned.gradients += std::exchange(planned.exchange, 0);
    if (parallel::micro_batches_of(world.rank(), c.ranks, c.micro_batches).count == 0) {
      // What a rank without a micro-batch reserves, it never touches.
      planned.activations = planned.workspace = planned.offloaded = 0;
    }
    for (const MemoryRow& row : memory_rows()) {
      EXPECT_EQ(planned.*row.bytes, is.*row.bytes)
          << row.key << " of rank " << world.rank() << ": " << c.settings;
    }
    held_total += is.device() + is.host();
    if (world.rank() == plan.fullest) {
      EXPECT_EQ(plan.memory.peak(), model.rank(plan.fullest, plan.sharding, activity).peak());
    }
  });
  std::string settings = c.settings;
  std::ranges::replace(settings, '\n', ' ');
  fmt::print("{:>5} {:>5} {:>8} {:>6}  {:>11} {:>11}  {}\n", c.model, c.ranks, c.per_node,
             input.tokens, planned_total, held_total, settings);
}

TEST_F(PlanTest, EveryRowIsWhatIsHeld) {
  fmt::print("\n{:>5} {:>5} {:>8} {:>6}  {:>11} {:>11}  settings\n", "model", "ranks", "per node",
             "tokens", "planned", "held");
  const std::vector<std::vector<int32_t>> packings = {{64}, {17, 1, 30, 16}, {48, 48}, {5}};
  const std::vector<std::string> policies = {
      "gradient_checkpointing: false",
      "gradient_checkpointing: true",
      "gradient_checkpointing: offload",
      "gradient_checkpointing: true\ngradient_checkpointing_layers: 2",
      "gradient_checkpointing: offload\ngradient_checkpointing_layers: 4",
      "gradient_checkpointing: true\ngradient_checkpointing_kept_layers: 2",
      "gradient_checkpointing: offload\ngradient_checkpointing_layers: 2\n"
      "gradient_checkpointing_kept_layers: 1",
  };
  const std::vector<std::string> optimizers = {
      "optimizer: adamw",
      "optimizer: adamw_8bit\noptimizer_sharding: true",
      "optimizer: paged_adamw_32bit\noptimizer_page_budget: 0B",
      "optimizer: paged_adamw_8bit\noptimizer_page_budget: 1MiB\noptimizer_page_dir: " +
          folder_.path(),
      "optimizer: adamw\noptimizer_sharding: true",
  };
  struct Ranks {
    int ranks, per_node;
    const char* sharding;
  };
  const std::vector<Ranks> ranks = {
      {1, 1, "auto"},      {2, 2, "full"},
      {3, 3, "replicate"}, {4, 2, "hybrid"},
      {8, 3, "host"},      {4, 1, "full"},
      {2, 2, "host"},      {3, 2, "full"},
      {8, 8, "full"},      {4, 4, "hybrid\nsharding_group: 2"},
      {1, 1, "full"},
  };
  const std::vector<std::string> others = {
      "lora_r: 8",
      "lora_r: 24\nlora_target_modules: [q_proj, v_proj]\nlora_dropout: 0.1",
      "lora_r: 9\nlora_target_modules: '.*\\.(0|2)\\..*_proj'",
      "adapter: lora\nlora_r: 4",
      "lora_r: 16\nbnb_4bit_use_double_quant: false",
      "lora_r: 3\nreduction: fast\nlora_dropout: 0.05"};
  for (size_t i = 0; i < 44; ++i) {
    const Ranks& r = ranks[i % ranks.size()];
    compare({.model = int(i % 3),
             .ranks = r.ranks,
             .per_node = r.per_node,
             .lengths = packings[(i / 2) % packings.size()],
             .micro_batches = int64_t(1 + i * 5 % 13),
             .settings = policies[i % policies.size()] + "\n" +
                         optimizers[(i / 3 + i) % optimizers.size()] + "\nsharding: " + r.sharding +
                         "\n" + others[(i / 5 + i) % others.size()]});
  }
}

}  // namespace
}  // namespace tessera::launch
