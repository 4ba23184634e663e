// How fast a model of a published shape, with random weights, trains on the GPUs of this machine:
//   [mpirun -np N] bench_gpu SHAPE [LAYERS] [KEY=VALUE ...]
// SHAPE is tiny, 8B or 70B; LAYERS less than it has makes it fit; the keys are a config's. Every
// row is as long as sequence_len. Prints a row of the table that gpu.sh begins: the median of five
// steps after two, with what the plan thought of it.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <numeric>
#include <random>

#include "launch/config/config.h"
#include "launch/config/options.h"
#include "launch/console/progress.h"
#include "launch/machine/device.h"
#include "launch/machine/processors.h"
#include "launch/machine/ranks.h"
#include "launch/plan/optimizer_state.h"
#include "launch/run/loaded_model.h"
#include "launch/run/metrics.h"
#include "launch/run/optimizer_parts.h"
#include "launch/run/run_data.h"
#include "launch/run/run_plan.h"
#include "launch/run/training_step.h"
#include "lora/decoder/training_pass.h"
#include "quant/format_dense.h"
#include "tests/scratch_folder.h"
#include "tests/spec.h"

namespace tessera::launch {
namespace {

constexpr int kWarmUp = 2, kSteps = 5;

struct Shape {
  int64_t hidden, ffn, layers, heads, kv_heads, head_dim, vocab;
};
const std::map<std::string, Shape> kShapes = {
    {"tiny", {128, 256, 4, 2, 1, 64, 512}},
    {"8B", {4096, 14336, 32, 32, 8, 128, 128256}},
    {"70B", {8192, 28672, 80, 64, 8, 128, 128256}},
};

lora::ModelSpec spec_of(const Shape& shape, int64_t layers) {
  return testing::llama_spec({.hidden = shape.hidden,
                              .of_layers = {.layers = layers > 0 ? layers : shape.layers,
                                            .ffn = shape.ffn,
                                            .heads = shape.heads,
                                            .kv_heads = shape.kv_heads,
                                            .head_dim = shape.head_dim},
                              .vocab = shape.vocab});
}

/// Normal with a deviation of 0.02, from 1,000 drawn values.
std::vector<float> random_values(size_t count) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0.0f, 0.02f);
  std::vector<float> some(1000), values(count);
  for (float& x : some) x = normal(random);
  for (float& x : values) x = some[random() % some.size()];
  return values;
}

std::vector<std::byte> as_bf16(const std::vector<float>& values) {
  std::vector<std::byte> bytes(values.size() * sizeof(bf16));
  for (size_t i = 0; i < values.size(); ++i) {
    const bf16 x = to_bf16(values[i]);
    std::memcpy(bytes.data() + i * sizeof(x), &x, sizeof(x));
  }
  return bytes;
}

/// Random values; of norms ones.
std::vector<std::byte> bytes_of(Context& ctx, const lora::PlacedTensor& tensor) {
  if (tensor.row.role == lora::Role::kNorm) {
    return as_bf16(std::vector<float>(size_t(tensor.row.shape[0]), 1.0f));
  }
  const std::vector<float> values = random_values(size_t(tensor.row.in() * tensor.row.out()));
  if (!tensor.is_matrix()) return as_bf16(values);
  std::vector<std::byte> blob(tensor.bytes);
  quant::FrozenMatrix::quantize(ctx, tensor.matrix, values, blob.data(), "");
  return blob;
}

/// Rank 0's bytes go to all layers, which are alike.
void fill(Context& ctx, const lora::BlobLayout& layout, parallel::ShardedStore& store,
          parallel::Communicator& world) {
  for (const lora::PlacedTensor& tensor : layout.tensors) {
    const std::vector<std::byte> bytes =
        world.rank() == 0 ? bytes_of(ctx, tensor) : std::vector<std::byte>();
    std::vector<parallel::BlobPart> parts(size_t(world.size()), {0, 0, 0});
    for (int64_t layer = 0; layer < store.layers(); ++layer) {
      parts[0] = {layer, tensor.offset, tensor.bytes};
      store.distribute(parts, bytes);
    }
  }
  store.finish_loading();
}

void fill(Context& ctx, lora::BaseWeights& base, parallel::Communicator& world) {
  fill(ctx, base.layout().layers.front(), base.store(), world);
  fill(ctx, base.layout().outer, base.outer(), world);
}

std::vector<lora::Batch> random_batches(const PlanInput& input) {
  lora::Batch batch;
  std::mt19937 random(1);
  for (int64_t i = 0; i < input.tokens; ++i) {
    if (i % input.sequence == 0) batch.starts.push_back(int32_t(i));
    batch.ids.push_back(int32_t(random() % uint64_t(input.model.vocab)));
    batch.positions.push_back(int32_t(i % input.sequence));
  }
  batch.starts.push_back(int32_t(input.tokens));
  batch.targets = batch.ids;
  return std::vector<lora::Batch>(size_t(input.micro_batches), batch);
}

int measure(const std::string& name, int64_t layers, std::vector<std::string> overrides,
            parallel::Communicator& world) {
  testing::ScratchFolder folder;
  Config config = load_config(folder.write("bench.yml", "base_model: random\n"), overrides);
  const lora::ModelSpec spec = spec_of(kShapes.at(name), layers);
  const Device device = choose_device(config.device, world);
  Context ctx(device, thread_count(config.threads, world), 7);
  ctx.set_compute_dtype(compute_dtype(config, device));

  const lora::BaseFormat stored{.linear = {&quant::kBF16Format},
                                .norm = DType::kBF16,
                                .embedding = DType::kBF16,
                                .head = DType::kBF16};
  const PlanInput input = plan_input(
      config, spec, stored, parallel::gather_values(world, world.node()), device.is_cuda());
  const Plan plan = plan_on(config, input, world, ctx);
  config = plan.applied(config);

  lora::BaseWeights base(ctx, spec, input.format, {world, plan.sharding});
  fill(ctx, base, world);
  parallel::LayerScheduler scheduler(ctx, base.store());
  scheduler.set_groups(plan.groups);
  lora::AdapterSet adapters(spec, adapter_options(config), device);
  adapters.init(7);
  lora::Decoder decoder(ctx, base, scheduler, &adapters);
  optim::Optimizer optimizer(
      *config.optimizer.rule, state_segments(adapters, config.optimizer.bits),
      owned_state(adapters.size(), config.optimizer_sharding, world.rank(), world.size()), {},
      page_options(config, device));
  TrainingStep step({ctx, world, decoder, *config.loss, adapters, optimizer}, config);
  lora::TrainingPass(decoder, *config.loss).plan(input.tokens);
  decoder.allocate();
  adapters.to_device(ctx);

  const std::vector<lora::Batch> batches = random_batches(input);
  LossScale scale;
  std::vector<double> seconds;
  for (int i = 0; i < kWarmUp + kSteps; ++i) {
    world.barrier();
    const Stopwatch watch;
    step.run(i, batches, 1e-4, scale);  // ends with the host waiting for the device
    if (i >= kWarmUp) seconds.push_back(watch.seconds());
  }
  std::ranges::nth_element(seconds, seconds.begin() + kSteps / 2);
  const double tokens = double(input.tokens * input.micro_batches);
  if (world.rank() == 0) {
    fmt::print(
        "| tessera | {}, {} layers | {} x {} | {} | {} x {} | {} | {} | {} | {:.3f} | {:.0f} | "
        "{:.0f} |\n",
        name, spec.layer_count(), world.size(), describe_device(device),
        name_of(ctx.compute_dtype()), config.micro_batch_size.value_or(1), config.sequence_len,
        plan.describe_policies(), format_bytes(used_memory(device)),
        format_bytes(int64_t(plan.memory.device())), seconds[kSteps / 2],
        tokens / seconds[kSteps / 2] / world.size(), plan.time.tokens_per_second / world.size());
  }
  return 0;
}

}  // namespace
}  // namespace tessera::launch

int main(int argc, char** argv) {
  using namespace tessera::launch;
  if (argc < 2 || !kShapes.contains(argv[1])) {
    fmt::print(stderr, "usage: bench_gpu tiny|8B|70B [LAYERS] [KEY=VALUE ...]\n");
    return 2;
  }
  std::vector<std::string> overrides(argv + 2, argv + argc);
  int64_t layers = 0;
  if (!overrides.empty() && overrides[0].find('=') == std::string::npos) {
    layers = std::atoll(overrides[0].c_str());
    overrides.erase(overrides.begin());
  }
  return run_on_ranks([&](tessera::parallel::Communicator& world) {
    return measure(argv[1], layers, overrides, world);
  });
}
