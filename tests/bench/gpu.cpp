// How fast a model of a published shape, with random weights, trains on the GPUs of this machine:
//   [mpirun -np N] bench_gpu SHAPE [LAYERS] [--json FILE] [KEY=VALUE ...]
//   bench_gpu kernels SHAPE [--once] [--json FILE] [KEY=VALUE ...]      its operators alone
// SHAPE is tiny, 8B or 70B; LAYERS less than it has makes it fit, `fit` is as many as the plan says
// do; the keys are a config's. Every row is as long as sequence_len. Prints a row of the table that
// gpu.sh begins: the median of five steps after two, with what the plan thought of it. With --json
// also the time of each part, from two more steps, and memory by stage; stderr gets a line for each
// figure that is not within 15 % of the plan's.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
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
#include "runtime/core/error.h"
#include "tests/bench/gpu_kernels.h"
#include "tests/bench/gpu_shapes.h"
#include "tests/bench/random_values.h"
#include "tests/scratch_folder.h"
#include "tests/spec.h"

namespace tessera::launch {
namespace {

constexpr int kWarmUp = 2, kSteps = 5;
constexpr int kTimedSteps = 2;  // in which each part is timed

using nlohmann::ordered_json;

struct Asked {
  bool kernels = false, once = false;
  std::string shape;
  int64_t layers = 0;  // 0: all
  bool fit = false;
  std::string json;  // a file
  std::vector<std::string> overrides;
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

/// Random values; of norms ones.
std::vector<std::byte> bytes_of(Context& ctx, const lora::PlacedTensor& tensor) {
  if (tensor.row.role == lora::Role::kNorm) {
    return testing::stored(DType::kBF16, std::vector<float>(size_t(tensor.row.shape[0]), 1.0f));
  }
  const std::vector<float> values =
      testing::random_values(size_t(tensor.row.in() * tensor.row.out()));
  if (!tensor.is_matrix()) return testing::stored(DType::kBF16, values);
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

/// A run of a shape, as it is planned.
struct PlannedRun {
  lora::ModelSpec spec;
  PlanInput input;
  Plan plan;
};

PlannedRun plan_of(const Config& config, const Shape& shape, int64_t layers,
                   parallel::Communicator& world, const Context& ctx) {
  const lora::BaseFormat stored{.linear = {&quant::kBF16Format},
                                .norm = DType::kBF16,
                                .embedding = DType::kBF16,
                                .head = DType::kBF16};
  PlannedRun run{.spec = spec_of(shape, layers), .input = {}, .plan = {}};
  run.input = plan_input(config, run.spec, stored, parallel::gather_values(world, world.node()),
                         ctx.device().is_cuda());
  run.plan = plan_on(config, run.input, world, ctx);
  return run;
}

/// Of as many layers as the plan says do fit. Error where not even one does.
PlannedRun largest_run(const Config& config, const Shape& shape, parallel::Communicator& world,
                       const Context& ctx) {
  PlannedRun best = plan_of(config, shape, 1, world, ctx);
  int64_t too_many = shape.layers + 1;
  while (best.spec.layer_count() + 1 < too_many) {
    const int64_t layers = (best.spec.layer_count() + too_many) / 2;
    try {
      best = plan_of(config, shape, layers, world, ctx);
    } catch (const Error&) {
      too_many = layers;
    }
  }
  return best;
}

/// Memory of the device, by what it was taken for.
struct MemoryPart {
  std::string_view name;
  int64_t used;
  size_t planned;
};

struct Measured {
  std::vector<double> seconds;  // of each step
  ComputeParts parts{};         // of a step, if asked for
  std::vector<int64_t> used;    // on the device, after each stage of train(), in bytes

  double median() const {
    std::vector<double> sorted = seconds;
    std::ranges::sort(sorted);
    return sorted[sorted.size() / 2];
  }
};

std::vector<MemoryPart> memory_parts(const Measured& measured, const RankMemory& plan) {
  const std::vector<int64_t>& used = measured.used;
  return {{"base", used[1] - used[0], plan.base + plan.slots + plan.outer},
          {"adapters, optimizer", used[2] - used[1],
           plan.adapters + plan.gradients + plan.exchange + plan.optimizer},
          {"activations, workspace", used[3] - used[2],
           plan.activations + plan.workspace + plan.tables},
          {"driver and libraries", used[0] + used[4] - used[3], plan.libraries},
          {"all", used[4], plan.device()}};
}

Measured train(const Config& config, const PlannedRun& run, bool by_part,
               parallel::Communicator& world, Context& ctx) {
  Measured measured;
  const auto stage_is_done = [&] { measured.used.push_back(used_memory(ctx.device())); };
  stage_is_done();
  lora::BaseWeights base(ctx, run.spec, run.input.format, {world, run.plan.sharding});
  fill(ctx, base, world);
  parallel::LayerScheduler scheduler(ctx, base.store());
  scheduler.set_groups(run.plan.groups);
  stage_is_done();
  lora::AdapterSet adapters(run.spec, adapter_options(config), ctx.device());
  adapters.init(7);
  lora::Decoder decoder(ctx, base, scheduler, &adapters);
  optim::Optimizer optimizer(
      *config.optimizer.rule, state_segments(adapters, config.optimizer.bits),
      owned_state(adapters.size(), config.optimizer_sharding, world.rank(), world.size()), {},
      page_options(config, ctx.device()));
  TrainingStep step({ctx, world, decoder, *config.loss, adapters, optimizer}, config);
  adapters.to_device(ctx);
  stage_is_done();
  lora::TrainingPass(decoder, *config.loss).plan(run.input.tokens);
  decoder.allocate();
  stage_is_done();

  const std::vector<lora::Batch> batches = random_batches(run.input);
  LossScale scale;
  for (int i = 0; i < kWarmUp + kSteps; ++i) {
    world.barrier();
    const Stopwatch watch;
    step.run(i, batches, 1e-4, scale);  // ends with the host waiting for the device
    if (i >= kWarmUp) measured.seconds.push_back(watch.seconds());
  }
  stage_is_done();
  if (!by_part) return measured;
  Timeline timeline(ctx.compute_stream());
  ctx.set_timeline(&timeline);
  for (int i = 0; i < kTimedSteps; ++i) {
    step.run(kWarmUp + kSteps + i, batches, 1e-4, scale);
  }
  measured.parts = timeline.take();
  ctx.set_timeline(nullptr);
  for (double& seconds : measured.parts) seconds /= kTimedSteps;
  return measured;
}

/// Lines about the figures that are not within 15 % of the plan's. Parts below 1 % of a step's time
/// or of the memory do not count.
std::vector<std::string> differences(const Measured& measured, const Plan& plan) {
  std::vector<std::string> lines;
  const auto compare = [&](std::string_view what, double found, double planned, auto&& format) {
    if (planned > 0 && std::abs(found / planned - 1) <= 0.15) return;
    lines.push_back(fmt::format("{}: {}, planned {}", what, format(found), format(planned)));
    if (planned <= 0) return;
    const double times = found / planned;
    lines.back() += times > 11 ? fmt::format(" ({:.0f} times)", times)
                               : fmt::format(" ({:+.0f} %)", 100 * (times - 1));
  };
  const auto seconds = [](double s) { return fmt::format("{:.4f} s", s); };
  const auto bytes = [](double b) { return format_bytes(int64_t(b)); };
  compare("a step", measured.median(), plan.time.seconds, seconds);
  for (size_t i = 0; i < kPartNames.size(); ++i) {
    double planned = plan.time.parts[i];
    std::string name(kPartNames[i]);
    if (i == size_t(ComputePart::kElementwise)) {  // all that no part claims
      planned += plan.time.optimizer + plan.time.exchange;
      name += ", optimizer";
    }
    if (std::max(measured.parts[i], planned) > measured.median() / 100) {
      compare(name, measured.parts[i], planned, seconds);
    }
  }
  for (const MemoryPart& part : memory_parts(measured, plan.memory)) {
    if (std::max(double(part.used), double(part.planned)) > double(plan.memory.device()) / 100) {
      compare(fmt::format("memory, {}", part.name), double(part.used), double(part.planned), bytes);
    }
  }
  return lines;
}

ordered_json parts_json(const ComputeParts& parts) {
  ordered_json root = ordered_json::object();
  for (size_t i = 0; i < parts.size(); ++i) root[kPartNames[i]] = parts[i];
  return root;
}

ordered_json plan_json(const Plan& plan) {
  ordered_json memory = ordered_json::object();
  for (const MemoryRow& row : memory_rows()) memory[row.key] = plan.memory.*row.bytes;
  const StepTime& t = plan.time;
  return {{"seconds_per_step", t.seconds},
          {"tokens_per_second", t.tokens_per_second},
          {"bound", t.bound()},
          {"parts", parts_json(t.parts)},
          {"gather", t.gather},
          {"host_copy", t.host_copy},
          {"exchange", t.exchange},
          {"optimizer", t.optimizer},
          {"device_total", plan.memory.device()},
          {"memory", memory}};
}

void write_line(const std::string& path, const ordered_json& root) {
  std::ofstream file(path);
  file << root.dump() << '\n';
  if (!file.flush()) fail("cannot write {}", path);
}

void write_report(const Asked& asked, const Config& config, const PlannedRun& run,
                  const Measured& measured, const Context& ctx) {
  const double tokens = double(run.input.tokens * run.input.micro_batches);
  ordered_json memory = ordered_json::object();
  for (const MemoryPart& part : memory_parts(measured, run.plan.memory)) {
    memory[part.name] = {{"used", part.used}, {"planned", part.planned}};
  }
  const std::vector<std::string> lines = differences(measured, run.plan);
  write_line(asked.json, {{"shape", asked.shape},
                          {"layers", run.spec.layer_count()},
                          {"ranks", run.input.ranks()},
                          {"device", describe_device(ctx.device())},
                          {"compute_dtype", name_of(ctx.compute_dtype())},
                          {"rows", config.micro_batch_size.value_or(1)},
                          {"sequence_len", config.sequence_len},
                          {"micro_batches", run.input.micro_batches},
                          {"activations", run.plan.describe_policies()},
                          {"tokens_per_second", tokens / measured.median()},
                          {"seconds_per_step", measured.median()},
                          {"steps", measured.seconds},
                          {"parts", parts_json(measured.parts)},
                          {"memory_used", measured.used.back()},
                          {"memory", memory},
                          {"plan", plan_json(run.plan)},
                          {"differs", lines}});
  for (const std::string& line : lines) {
    fmt::print(stderr, "differs: {}, {} layers, {} x {}: {}\n", asked.shape, run.spec.layer_count(),
               config.micro_batch_size.value_or(1), config.sequence_len, line);
  }
}

int measure(const Asked& asked, const Config& given, parallel::Communicator& world, Context& ctx) {
  const Shape& shape = kShapes.at(asked.shape);
  const PlannedRun run = asked.fit ? largest_run(given, shape, world, ctx)
                                   : plan_of(given, shape, asked.layers, world, ctx);
  const Plan& plan = run.plan;
  const Config config = plan.applied(given);
  const Measured measured = train(config, run, !asked.json.empty(), world, ctx);
  if (world.rank() != 0) return 0;
  const double tokens = double(run.input.tokens * run.input.micro_batches);
  fmt::print(
      "| tessera | {}, {} layers | {} x {} | {} | {} x {} | {} | {} | {} | {:.3f} | {:.0f} | "
      "{:.0f} |\n",
      asked.shape, run.spec.layer_count(), world.size(), describe_device(ctx.device()),
      name_of(ctx.compute_dtype()), config.micro_batch_size.value_or(1), config.sequence_len,
      plan.describe_policies(), format_bytes(measured.used.back()),
      format_bytes(int64_t(plan.memory.device())), measured.median(),
      tokens / measured.median() / world.size(), plan.time.tokens_per_second / world.size());
  if (!asked.json.empty()) write_report(asked, config, run, measured, ctx);
  return 0;
}

int measure_alone(const Asked& asked, const Config& config, Context& ctx) {
  const std::vector<KernelRate> rows =
      measure_kernels(ctx, {kShapes.at(asked.shape), config.sequence_len, asked.once});
  if (asked.once) return 0;
  fmt::print("{}", kernel_table(rows));
  if (asked.json.empty()) return 0;
  write_line(asked.json, {{"shape", asked.shape},
                          {"tokens", config.sequence_len},
                          {"device", describe_device(ctx.device())},
                          {"compute_dtype", name_of(ctx.compute_dtype())},
                          {"operators", kernel_json(rows)}});
  return 0;
}

int run(const Asked& asked, parallel::Communicator& world) {
  testing::ScratchFolder folder;
  const Config config =
      load_config(folder.write("bench.yml", "base_model: random\n"), asked.overrides);
  Console console(world.rank() == 0);
  const Device device = choose_device(config.device, world, console);
  Context ctx(device, thread_count(config.threads, world), 7);
  ctx.set_compute_dtype(compute_dtype(config, device));
  return asked.kernels ? measure_alone(asked, config, ctx) : measure(asked, config, world, ctx);
}

/// Nothing where the arguments are not those of the usage line.
std::optional<Asked> parse(std::vector<std::string> words) {
  Asked asked;
  const auto take = [&] {
    const std::string word = words.empty() ? "" : words.front();
    if (!words.empty()) words.erase(words.begin());
    return word;
  };
  asked.kernels = !words.empty() && words.front() == "kernels";
  if (asked.kernels) take();
  asked.shape = take();
  if (!kShapes.contains(asked.shape)) return std::nullopt;
  while (!words.empty()) {
    const std::string word = take();
    if (word == "--json") {
      asked.json = take();
    } else if (word == "--once") {
      asked.once = true;
    } else if (word == "fit") {
      asked.fit = true;
    } else if (word.find('=') != std::string::npos) {
      asked.overrides.push_back(word);
    } else if (const int64_t layers = std::atoll(word.c_str()); layers > 0) {
      asked.layers = layers;
    } else {
      return std::nullopt;
    }
  }
  return asked;
}

}  // namespace
}  // namespace tessera::launch

int main(int argc, char** argv) {
  using namespace tessera::launch;
  const std::optional<Asked> asked = parse({argv + 1, argv + argc});
  if (!asked) {
    fmt::print(stderr,
               "usage: bench_gpu [kernels] tiny|8B|70B [LAYERS|fit] [--once] [--json FILE] "
               "[KEY=VALUE ...]\n");
    return 2;
  }
  try {
    return run_on_ranks([&](tessera::parallel::Communicator& world) { return run(*asked, world); });
  } catch (const std::exception& error) {
    print_error(error.what());
    return 1;
  }
}
