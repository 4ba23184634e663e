#include "launch/run/train.h"

#include <algorithm>
#include <cmath>

#include "launch/config/flags.h"
#include "launch/config/options.h"
#include "launch/machine/agreement.h"
#include "launch/machine/device.h"
#include "launch/machine/processors.h"
#include "launch/machine/signals.h"
#include "launch/run/checkpoint.h"
#include "launch/run/evaluate.h"
#include "launch/run/metrics.h"
#include "launch/run/run_folder.h"
#include "launch/run/run_identity.h"
#include "launch/run/run_inputs.h"
#include "launch/run/run_machine.h"
#include "launch/run/run_plan.h"
#include "lora/adapter/peft.h"
#include "optim/schedule.h"
#include "runtime/io/hash.h"

namespace tessera::launch {
namespace {

/// As long as torch's process groups wait; loading or tokenizing may keep others waiting long.
constexpr int64_t kWatchdogSeconds = 1800;

/// The loop over steps, with what changes in it: the state of the run and its files.
class Loop {
 public:
  /// Goes on from a checkpoint where the config says so. All arguments outlive it. Collective.
  Loop(const RunInputs& inputs, const RunPlan& plan, RunMachine& machine, RunFolder& folder,
       parallel::Communicator& world, Console& console);
  /// The exit code. Collective.
  int run();

 private:
  void resume();
  /// The checkpoint to go on from; none where there is none yet.
  std::optional<std::string> find_checkpoint();
  /// Opens the folder and the metrics for the steps to come.
  void begin();
  StepMetrics run_step(int64_t step);
  /// True on every rank where `mine` is on one.
  bool on_any_rank(bool mine);
  bool leads() const { return world_.rank() == 0; }
  /// float16 gradients leave their range without a loss scale, on the devices that have them.
  bool needs_scale() const { return machine_.ctx.activation_dtype() == DType::kF16; }
  void report(const StepMetrics& m);
  void note_lost_line(bool written);
  void evaluate(int64_t step);
  /// With must_succeed an Error ends the run; else it is a warning, and the run goes on.
  void save(int64_t step, bool must_succeed);
  void finish(int64_t step);
  /// What was done and measured since this start.
  std::string summary() const;

  const Config& config_;  // with what the plan has chosen
  const RunData& data_;
  RunSteps steps_;
  RunMachine& machine_;
  RunFolder& folder_;
  parallel::Communicator& world_;
  Console& console_;
  const optim::LrSchedule schedule_;
  CheckpointStore checkpoints_;
  RunState state_;
  std::optional<MetricsFile> metrics_;
  std::optional<double> first_loss_, last_loss_;
  bool lines_lost_ = false;
  Stopwatch clock_;
  int64_t first_step_ = 0;
};

Loop::Loop(const RunInputs& inputs, const RunPlan& plan, RunMachine& machine, RunFolder& folder,
           parallel::Communicator& world, Console& console)
    : config_(plan.config),
      data_(inputs.data),
      steps_(inputs.steps),
      machine_(machine),
      folder_(folder),
      world_(world),
      console_(console),
      schedule_(make_schedule(config_, steps_.steps())),
      checkpoints_(config_.output_dir, config_.save_total_limit) {
  state_.identity = run_identity(config_, {.base_hash = machine.model.fingerprint(),
                                           .data_hash = data_.training.fingerprint(),
                                           .compute_dtype = machine.ctx.compute_dtype(),
                                           .micro_batches = data_.options.micro_batches,
                                           .total_steps = steps_.steps()});
  require_agreement(world, state_.identity);
  machine.allocate(plan);
  resume();
  // A device without float16 leaves the stored scale alone: a later start on one that has it goes
  // on with it.
  if (needs_scale() && !state_.scale.dynamic) state_.scale = LossScale::for_float16();
  machine.adapters.to_device(machine.ctx);
}

void Loop::resume() {
  const std::optional<std::string> path = find_checkpoint();
  if (!path) return;
  state_ = on_all(world_, [&] {
    return CheckpointStore::load(*path, state_.identity, machine_.model.spec(),
                                 machine_.trained(config_));
  });
  first_step_ = state_.step;
  console_.line(fmt::format("resumed  {} (step {})", *path, state_.step));
}

std::optional<std::string> Loop::find_checkpoint() {
  const std::optional<ResumeFrom>& from = config_.resume_from_checkpoint;
  if (!from) return std::nullopt;
  if (!from->is_auto()) return from->path;
  std::vector<std::string> skipped;
  const std::optional<std::string> path =
      on_all(world_, [&] { return checkpoints_.newest(skipped); });
  const std::vector<std::string> all = gather_texts(world_, path.value_or(""));
  if (std::ranges::count(all, all[0]) != world_.size()) {
    throw SharedError(fmt::format(
        "the ranks see different checkpoints in {}; is it on a file system that all share?",
        config_.output_dir));
  }
  for (const std::string& line : skipped) console_.line(line);
  if (!path) console_.line("no checkpoint to resume from: starting afresh");
  return path;
}

void Loop::begin() {
  all_or_none(world_, [&] {
    // A resumed run adds its checkpoints to the folder, so that no other run's may be there.
    const bool resuming = config_.resume_from_checkpoint.has_value();
    if (leads() && resuming) checkpoints_.require_no_other_run(state_.identity);
  });
  folder_.begin(config_, data_.tokenizer_files, state_.step);
  all_or_none(world_, [&] {
    if (leads()) metrics_.emplace(config_.output_dir + "/metrics.jsonl", state_.step);
  });
}

bool Loop::on_any_rank(bool mine) {
  const std::vector<int> all = parallel::gather_values(world_, int(mine));
  return std::ranges::count(all, 0) != world_.size();
}

StepMetrics Loop::run_step(int64_t step) {
  const Stopwatch watch;
  const double waited = machine_.model.scheduler().waited_seconds();
  const std::vector<lora::Batch> batches = steps_.micro_batches(step);
  int64_t tokens = 0;
  for (const lora::Batch& batch : batches) tokens += batch.tokens();
  const double rate = schedule_.rate(step);
  LossScale none;
  // All ranks pass the same batches. Each computes its share; the gradients are summed over all
  // ranks, and the adapters updated alike.
  const StepResult result =
      machine_.step.run(step, batches, rate, needs_scale() ? state_.scale : none);
  if (result.skipped) {
    console_.line(fmt::format("step {}: skipped, its gradient overflows float16; loss scale now {}",
                              step + 1, state_.scale.factor));
  }
  state_.step = step + 1;
  state_.tokens += tokens;
  return {.step = step + 1,
          .epoch = steps_.epoch_after(step + 1),
          .loss = result.loss,
          .grad_norm = result.grad_norm,
          .learning_rate = rate,
          .tokens = state_.tokens,
          .tokens_per_second = double(tokens) / watch.seconds(),
          .memory = used_memory(machine_.ctx.device()),
          .gather_wait = machine_.model.scheduler().waited_seconds() - waited};
}

void Loop::report(const StepMetrics& m) {
  if (metrics_) note_lost_line(metrics_->write(m));
  if (!first_loss_) first_loss_ = m.loss;
  last_loss_ = m.loss;
  const double per_step = clock_.seconds() / double(m.step - first_step_);
  const std::string text = fmt::format(
      "step {:>{}}/{}  epoch {:.2f}  loss {:.4f}  grad {:.3f}  lr {:.2e}  {:.0f} tok/s  {}  ETA {}",
      m.step, std::to_string(steps_.steps()).size(), steps_.steps(), m.epoch, m.loss, m.grad_norm,
      m.learning_rate, m.tokens_per_second, format_bytes(m.memory),
      format_duration(per_step * double(steps_.steps() - m.step)));
  if (console_.is_terminal()) {
    console_.live(text);
  } else if (m.step % config_.logging_steps == 0 || m.step == steps_.steps()) {
    console_.line(text);
  }
}

void Loop::note_lost_line(bool written) {
  if (written || lines_lost_) return;
  lines_lost_ = true;
  console_.line(
      fmt::format("warning: {}/metrics.jsonl cannot be written; its lines are lost until "
                  "there is room again",
                  config_.output_dir));
}

void Loop::evaluate(int64_t step) {
  for (const RunData::EvaluationSet& set : data_.evaluation) {
    // The only one needs no name in the metrics.
    const std::string name = data_.evaluation.size() > 1 ? set.name : "";
    // An earlier start has written this evaluation, and ended before it wrote the adapter.
    if (on_any_rank(metrics_ && metrics_->evaluated(step, name))) continue;
    world_.set_phase(fmt::format("evaluation after step {}", step));
    const EvaluationBatches batches(set.samples, data_.options);
    const Evaluation e = launch::evaluate(
        machine_.decoder, *config_.loss,
        {int64_t(batches.size()), [&](size_t i) { return batches[i]; }}, world_, console_);
    if (metrics_) note_lost_line(metrics_->write_evaluation(step, name, e.loss, e.tokens));
    console_.line(fmt::format("step {}: {} loss {:.4f}, perplexity {:.2f} ({} tokens)", step,
                              set.name, e.loss, e.perplexity(), format_count(e.tokens)));
  }
}

void Loop::save(int64_t step, bool must_succeed) {
  world_.set_phase(fmt::format("checkpoint after step {}", step));
  machine_.adapters.to_host(machine_.ctx);
  try {
    const std::string path = checkpoints_.save(world_, state_, machine_.trained(config_));
    if (!must_succeed) console_.line(fmt::format("step {}: saved {}", step, path));
  } catch (const Error& error) {
    if (must_succeed) throw;
    // A full disk costs this checkpoint, not the run; at the end there is nothing left to try.
    return console_.line(
        fmt::format("warning: step {}: no checkpoint was written: {}", step, error.what()));
  }
  if (!leads()) return;
  for (const std::string& line : checkpoints_.rotate(step)) console_.line("warning: " + line);
}

void Loop::finish(int64_t step) {
  save(step, true);
  all_or_none(world_, [&] {
    if (leads()) lora::save_peft(config_.output_dir, machine_.adapters, config_.base_model);
  });
  folder_.end(step, true);
  console_.line(
      fmt::format("done     {} steps{}; adapter in {}", step, summary(), config_.output_dir));
}

std::string Loop::summary() const {
  const int64_t ran = state_.step - first_step_;
  if (ran == 0) return ", none of them now";
  const double seconds = clock_.seconds(), waited = machine_.model.scheduler().waited_seconds();
  std::string text = first_step_ > 0 ? fmt::format(", {} of them now,", ran) : "";
  text += fmt::format(" in {}", format_duration(seconds));
  if (waited > 0) {
    text += fmt::format(", {:.1f} % of it waiting for layers", 100 * waited / seconds);
  }
  text += "; loss ";
  if (ran > 1) text += fmt::format("{:.4f} -> ", *first_loss_);
  return text + fmt::format("{:.4f}", *last_loss_);
}

int Loop::run() {
  const StopSignals signals;
  if (state_.step == steps_.steps() && folder_.finished(state_.step)) {
    console_.line(fmt::format(
        "the run in {0} is finished already (step {1} of {1}): nothing is trained or written. To "
        "train its adapter further, start another run with lora_model_dir={0} and another "
        "output_dir",
        config_.output_dir, state_.step));
    return kFinished;
  }
  begin();
  clock_ = Stopwatch();
  for (int64_t step = state_.step; step < steps_.steps(); ++step) {
    report(run_step(step));
    const int64_t done = step + 1;
    const bool last = done == steps_.steps();
    if (config_.eval_steps && done % *config_.eval_steps == 0 && !last) evaluate(done);
    if (on_any_rank(StopSignals::received() != 0) && !last) {
      save(done, true);
      folder_.end(done, false);
      console_.line(fmt::format(
          "stopped after step {} of {}; to go on, add to the same command: "
          "resume_from_checkpoint=auto{}",
          done, steps_.steps(), config_.overwrite_output_dir ? " overwrite_output_dir=null" : ""));
      return kStopped;
    }
    if (config_.save_steps && done % *config_.save_steps == 0 && !last) save(done, false);
  }
  evaluate(steps_.steps());
  finish(steps_.steps());
  return kFinished;
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

/// Every setting, and the program itself. Threads are a rank's own.
nlohmann::json what_all_run(const Config& config) {
  nlohmann::json all = {{"program", io::hash_file("/proc/self/exe")}};
  for (const FlagGroup& group : flag_groups()) {
    for (const Flag& flag : group.flags) {
      if (flag.name != "threads") all[std::string(flag.name)] = flag.write(config);
    }
  }
  return all;
}

}  // namespace

int train(const Config& config, parallel::Communicator& world) {
  require_keys(config, kTrainNeeds);
  ignore_closed_pipes();
  world.set_phase("start");
  world.set_watchdog(std::chrono::seconds(config.watchdog_seconds.value_or(kWatchdogSeconds)));
  if (world.size() > 1) require_agreement(world, what_all_run(config));
  Console console(world.rank() == 0);
  auto start = on_all(world, [&] { return open_start(config, console); });
  const Device device = on_all(world, [&] { return choose_device(config.device, world, console); });
  RunFolder folder(config, world, console);
  Context ctx(device, thread_count(config.threads, world), uint64_t(config.seed));
  ctx.set_compute_dtype(compute_dtype(config, device));
  const RunInputs inputs(config, std::move(start), world, console);
  const RunPlan plan = plan_run(config, inputs, world, ctx);
  print_banner(console, plan, inputs, ctx);
  RunMachine machine(ctx, inputs, plan, world, console);
  return Loop(inputs, plan, machine, folder, world, console).run();
}

}  // namespace tessera::launch
