#include "launch/commands/plan.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>

#include "launch/commands/arguments.h"
#include "launch/config/flags.h"
#include "launch/config/options.h"
#include "launch/console/progress.h"
#include "launch/hub/find_model.h"
#include "launch/machine/ranks.h"
#include "launch/plan/plan_table.h"
#include "launch/run/loaded_model.h"
#include "launch/run/run_plan.h"
#include "lora/model/checkpoint.h"
#include "lora/model/families.h"
#include "lora/model/loader.h"
#include "lora/model/quantization_config.h"
#include "parallel/self_communicator.h"
#include "runtime/core/error.h"
#include "runtime/io/file.h"

namespace tessera::launch {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

/// A model as its config tells it, without its weights.
struct ModelShape {
  lora::ModelSpec spec;
  lora::BaseFormat stored;
};

ModelShape read_shape(const std::string& path) {
  std::error_code error;
  const fs::path file = fs::path(path) / "config.json";
  const std::string config =
      fs::exists(file, error) ? io::read_file(file.string(), size_t{1} << 20) : std::string();
  // A GGUF file's header has all. How a folder is quantized stands with its tensors.
  if (config.empty() || lora::is_quantized(config, file.string())) {
    const lora::Checkpoint checkpoint = lora::Checkpoint::open(path);
    return {checkpoint.spec(), lora::checkpoint_format(checkpoint)};
  }
  ModelShape shape;
  shape.spec = lora::parse_config(config, file.string());
  const DType dtype = shape.spec.dtype;
  shape.stored = {
      .linear = {quant::format_of(dtype)}, .norm = dtype, .embedding = dtype, .head = dtype};
  return shape;
}

/// The config, with `device: cuda` taken as said where a GPU is only modelled.
Config read_config(const PlanOptions& options, bool gpu) {
  std::vector<std::string> overrides = options.overrides;
  if (gpu) {
    std::erase(overrides, "device=cuda");
    overrides.push_back("device=auto");
  }
  return load_config(options.config, overrides, kPlanNeeds);
}

std::vector<int> nodes_of(const PlanOptions& options, bool gpu) {
  const int per_node =
      options.ranks_per_node.value_or(gpu ? std::min(options.ranks, 8) : options.ranks);
  std::vector<int> nodes;
  for (int r = 0; r < options.ranks; ++r) nodes.push_back(r / per_node * per_node);
  return nodes;
}

/// What is planned with, and what it found.
struct PlanReport {
  Config config;
  PlanInput input;
  std::optional<DeviceProfile> profile;  // as named
  Plan plan;
  std::string warning;  // why it would not run here
};

PlanReport make_report(const PlanOptions& options) {
  PlanReport report;
  if (options.profile) report.profile = find_profile(*options.profile);
  const bool gpu = report.profile && report.profile->gpu;
  report.config = read_config(options, gpu);
  Console console;
  show_notes(report.config, console);
  const ModelShape shape =
      read_shape(find_model_without_weights(report.config.base_model, console));
  report.config = with_stored_format(report.config, shape.stored);
  const Config& config = report.config;
  report.input = plan_input(config, shape.spec, shape.stored, nodes_of(options, gpu), gpu);
  const DeviceProfile device = report.profile.value_or(nominal_cpu());
  // A budget is of whatever machine the run is meant for; else a CPU's is this one.
  const bool here = !config.memory_budget && !gpu;
  MemoryLimit limit;
  if (config.memory_budget) {
    limit.rank = {size_t(*config.memory_budget), "memory_budget"};
  } else if (gpu) {
    limit.rank = {size_t(double(device.memory) * kUsableShare), "what the GPU has"};
  } else {
    parallel::SelfCommunicator alone;
    limit = free_memory(alone, Device::cpu());
  }
  try {
    report.plan = choose_plan(config, report.input, device, limit);
  } catch (const Error& error) {
    if (!here) throw;
    // For another machine than this, then.
    report.warning = error.what();
    report.plan = choose_plan(config, report.input, device, {});
  }
  return report;
}

std::string say_seconds(double s) {
  return s >= 10    ? fmt::format("{:.0f} s", s)
         : s >= 0.1 ? fmt::format("{:.2f} s", s)
                    : fmt::format("{:.1f} ms", s * 1e3);
}

/// "compute is 70 % products, ...", the largest part first.
std::string describe_parts(const StepTime& time) {
  std::vector<size_t> order(time.parts.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::sort(order, std::greater(), [&](size_t i) { return time.parts[i]; });
  std::vector<std::string> shares;
  for (size_t i : order) {
    shares.push_back(fmt::format("{:.0f} % {}", 100 * time.parts[i] / time.compute, kPartNames[i]));
  }
  return fmt::format("compute is {}", fmt::join(shares, ", "));
}

std::string as_text(const PlanReport& p) {
  const PlanInput& in = p.input;
  const StepTime& time = p.plan.time;
  std::string text = fmt::format(
      "model    {}: {} layers, hidden {}, vocab {}; {}\n"
      "ranks    {}, base {}; {} micro-batch{} of at most {} tokens a step\n",
      p.config.base_model, in.model.layer_count(), in.model.hidden, format_count(in.model.vocab),
      describe(quantization(p.config)), in.ranks(), name_of(p.plan.sharding.mode), in.micro_batches,
      in.micro_batches == 1 ? "" : "es", format_count(in.tokens));
  for (const std::string& line : plan_table(p.plan, in)) text += line + "\n";
  if (time.between_nodes > 0) {
    text += fmt::format("network  {} a step come to each node\n",
                        format_bytes(int64_t(time.between_nodes)));
  }
  if (p.profile) {
    text += fmt::format(
        "time     {} a step, {} tokens/s, bound by {} ({}{})\n"
        "         compute {}, gather {}, host copy {}, exchange {}, optimizer {}\n",
        say_seconds(time.seconds), format_count(int64_t(time.tokens_per_second)), time.bound(),
        p.profile->gpu ? "modelled: " : "from the profile of ", p.profile->name,
        say_seconds(time.compute), say_seconds(time.gather), say_seconds(time.host_copy),
        say_seconds(time.exchange), say_seconds(time.optimizer));
    if (p.profile->gpu) text += "         " + describe_parts(time) + "\n";
  } else {
    text += "time     name a device: --profile H100, or a file from `tessera doctor --profile`\n";
  }
  if (!p.warning.empty()) text += "here     would not run: " + p.warning + "\n";
  return text;
}

std::string as_json(const PlanReport& p) {
  const Config chosen = p.plan.applied(p.config);
  ordered_json device = ordered_json::object(), host = device, disk = device;
  for (const MemoryRow& row : memory_rows()) {
    ordered_json& place = row.where == MemoryRow::Where::kDevice ? device
                          : row.where == MemoryRow::Where::kHost ? host
                                                                 : disk;
    place[row.key] = p.plan.memory.*row.bytes;
  }
  ordered_json root = {
      {"base_model", p.config.base_model},
      {"ranks", p.input.ranks()},
      {"micro_batches_per_step", p.input.micro_batches},
      {"tokens_per_micro_batch", p.input.tokens},
      {"modelled", p.input.gpu.has_value()},
      {"sharding", name_of(p.plan.sharding.mode)},
      {"activations", p.plan.describe_policies()},
      {"gradient_checkpointing", find_flag("gradient_checkpointing")->write(chosen)},
      {"gradient_checkpointing_layers", chosen.gradient_checkpointing_layers},
      {"gradient_checkpointing_kept_layers", chosen.gradient_checkpointing_kept_layers},
      {"rank", p.plan.fullest},
      {"device", device},
      {"host", host},
      {"disk", disk},
      {"loading", p.plan.memory.loading},
      {"device_total", p.plan.memory.device()},
      {"host_total", p.plan.memory.host()},
      {"peak", p.plan.memory.peak()},
      {"node_total", p.plan.node},
      {"bytes_between_nodes", p.plan.time.between_nodes}};
  if (p.profile) {
    const StepTime& t = p.plan.time;
    root["profile"] = p.profile->name;
    ordered_json parts = ordered_json::object();
    for (size_t i = 0; i < kPartNames.size(); ++i) parts[kPartNames[i]] = t.parts[i];
    root["time"] = {{"seconds_per_step", t.seconds},
                    {"tokens_per_second", t.tokens_per_second},
                    {"bound", t.bound()},
                    {"compute", t.compute},
                    {"compute_parts", parts},
                    {"gather", t.gather},
                    {"host_copy", t.host_copy},
                    {"exchange", t.exchange},
                    {"optimizer", t.optimizer}};
  }
  if (!p.warning.empty()) root["warning"] = p.warning;
  return root.dump(2) + "\n";
}

}  // namespace

std::string plan(const PlanOptions& options) {
  const PlanReport report = make_report(options);
  return options.json ? as_json(report) : as_text(report);
}

void declare_plan(CLI::App* command, int&) {
  auto arguments = std::make_shared<ConfigArguments>();
  auto options = std::make_shared<PlanOptions>();
  arguments->add_to(command);
  add_number(command, "--ranks", options->ranks, IntType{1, 1 << 16}, "Ranks that share the run")
      ->type_name("N");
  add_number(command, "--ranks_per_node", options->ranks_per_node, IntType{1, 1 << 16},
             "Of them on one machine; default: all, or 8 GPUs")
      ->type_name("N");
  add_path(command, "--profile", options->profile,
           fmt::format("Device: {}, or a file from `tessera doctor --profile`",
                       fmt::join(gpu_names(), ", ")))
      ->type_name("NAME");
  command->add_flag("--json", options->json, "As JSON, in bytes and seconds");
  command->footer(
      "\nOpens only the model's config.json, or the headers of its files where it is quantized; "
      "loads\nnothing. What the config leaves open is chosen as a run would choose it. Numbers for "
      "a GPU are\nmodelled.\n\n"
      "Example: tessera plan run.yml --ranks 8 --profile H100 sequence_len=4096");
  command->callback([arguments, options] {
    require_alone("plan");
    options->config = arguments->path;
    options->overrides = arguments->overrides;
    write_stdout(plan(*options));
  });
}

}  // namespace tessera::launch
