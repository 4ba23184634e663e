#include "launch/run/run_start.h"

#include "launch/config/options.h"
#include "launch/machine/agreement.h"
#include "launch/machine/device.h"
#include "launch/machine/processors.h"
#include "launch/machine/signals.h"
#include "launch/run/checkpoint.h"
#include "launch/run/run_identity.h"

namespace tessera::launch {
namespace {

/// As long as torch's process groups wait; loading or tokenizing may keep others waiting long.
constexpr int64_t kWatchdogSeconds = 1800;

Console make_ready(const Config& config, parallel::Communicator& world) {
  require_keys(config, kTrainNeeds);
  if (!config.search_ranks.empty()) {
    fail_usage(
        "{}: search_ranks is for `tessera search`; to train one of them, give search_ranks=null "
        "and lora_r",
        config.source);
  }
  ignore_closed_pipes();
  world.set_phase("start");
  world.set_watchdog(std::chrono::seconds(config.watchdog_seconds.value_or(kWatchdogSeconds)));
  if (world.size() > 1) require_agreement(world, what_all_run(config));
  return Console(world.rank() == 0, config.log_format == LogFormat::kJson);
}

/// The adapter to start from, if any. Error where it, or the checkpoint to go on from, is not
/// there: before anything is written, and before the minutes of a large load.
std::optional<lora::PeftFolder> open_start(const Config& config, Console& console) {
  const std::optional<ResumeFrom>& from = config.resume_from_checkpoint;
  if (from && !from->is_auto()) CheckpointStore::require_folder(from->path);
  auto start = open_adapter(config.lora_model_dir, console);
  if (start && start->config.options.dropout != config.lora_dropout) {
    console.line(fmt::format("the adapter in {} was trained with lora_dropout {}; this run uses {}",
                             start->path, start->config.options.dropout, config.lora_dropout));
  }
  return start;
}

/// Error where the device lacks what the config computes in.
Device open_device(const Config& config, parallel::Communicator& world, Console& console) {
  const Device device = choose_device(config.device, world, console);
  compute_dtype(config, device);
  return device;
}

}  // namespace

RunStart::RunStart(const Config& config, parallel::Communicator& ranks)
    : world(ranks),
      console(make_ready(config, ranks)),
      opened_(on_all(ranks, [&] { return open_start(config, console); })),
      device_(on_all(ranks, [&] { return open_device(config, ranks, console); })),
      folder(config, ranks, console),
      ctx(device_, thread_count(config.threads, ranks), uint64_t(config.seed)),
      inputs(config, std::move(opened_), ranks, console) {
  ctx.set_compute_dtype(compute_dtype(config, device_));
}

LoadedModel load_base(RunStart& start, const RunPlan& plan) {
  return {start.ctx,
          start.inputs.checkpoint,
          quantization(plan.config),
          {start.world, plan.chosen.sharding},
          start.console};
}

nlohmann::json identity_of(const RunStart& start, const RunPlan& plan, const LoadedModel& model) {
  return run_identity(plan.config, {.base_hash = model.fingerprint(),
                                    .data_hash = start.inputs.data.training.fingerprint(),
                                    .compute_dtype = start.ctx.compute_dtype(),
                                    .micro_batches = start.inputs.data.options.micro_batches,
                                    .total_steps = start.inputs.steps.steps()});
}

}  // namespace tessera::launch
