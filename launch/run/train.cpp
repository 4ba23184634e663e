#include "launch/run/train.h"

#include <algorithm>
#include <cmath>

#include "launch/config/cadence.h"
#include "launch/config/options.h"
#include "launch/machine/agreement.h"
#include "launch/machine/device.h"
#include "launch/machine/signals.h"
#include "launch/run/checkpoint.h"
#include "launch/run/profile.h"
#include "launch/run/run_banner.h"
#include "launch/run/run_evaluations.h"
#include "lora/adapter/peft.h"
#include "optim/schedule.h"
#include "runtime/io/file.h"

namespace tessera::launch {
namespace {

/// The loop over steps, with what changes in it: the state of the run and its files.
class Loop {
 public:
  /// Goes on from a checkpoint where the config says so. Both arguments outlive it. Collective.
  Loop(const RunParts& run, RunMachine& machine);
  /// To the end. The exit code. Collective.
  int run();
  /// Until `last` steps are done, or none is left; then a checkpoint, and `measure`. The exit code.
  /// Collective.
  int run_until(int64_t last, FunctionRef<void(RunMachine&, const RunState&)> measure);

 private:
  /// Until `last` steps are done, or none is left. False where a signal asks to stop before.
  bool take_steps(int64_t last);
  /// As a signal asks. The exit code.
  int stop();
  void resume();
  /// The checkpoint to go on from; none where there is none yet.
  std::optional<std::string> find_checkpoint();
  /// Opens the folder and the metrics for the steps to come.
  void begin();
  StepMetrics run_step(int64_t step);
  bool leads() const { return world_.rank() == 0; }
  /// float16 gradients leave their range without a loss scale, on the devices that have them.
  bool needs_scale() const { return machine_.ctx.activation_dtype() == DType::kF16; }
  /// Writes what was measured, once it is complete or the run is over.
  void write_profile();
  /// Error where the loss has been too high for too long.
  void watch_loss(const StepMetrics& m);
  /// With must_succeed an Error ends the run; else it is a warning, and the run goes on.
  void save(int64_t step, bool must_succeed);
  /// Makes the adapter that of the best evaluation. Says whose it is.
  std::string take_best();
  void finish();
  /// Whether no step is left, or the evaluations say that none is worth it.
  bool over() const { return state_.step == steps_.steps() || stops_early(); }
  bool stops_early() const {
    return config_.early_stopping_patience &&
           state_.evaluations.without_gain >= *config_.early_stopping_patience;
  }
  bool keeps_best() const {
    return config_.load_best_model_at_end.value_or(config_.early_stopping_patience.has_value());
  }
  std::optional<int64_t> best_step() const {
    if (!keeps_best() || !state_.evaluations.best) return std::nullopt;
    return state_.evaluations.best_step;
  }

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
  RunLog log_;
  RunEvaluations evaluations_;
  std::optional<Profile> profile_;  // until it is written
};

Loop::Loop(const RunParts& run, RunMachine& machine)
    : config_(run.plan.config),
      data_(run.start.inputs.data),
      steps_(run.start.inputs.steps),
      machine_(machine),
      folder_(run.folder),
      world_(run.start.world),
      console_(run.start.console),
      schedule_(make_schedule(config_, steps_.steps())),
      checkpoints_(config_.output_dir, config_.save_total_limit),
      log_(config_, console_),
      evaluations_(run.start.inputs, run.plan, machine, log_, world_, console_) {
  state_.identity = identity_of(run.start, run.plan, run.model);
  require_agreement(world_, state_.identity);
  machine.allocate(run.plan);
  resume();
  // A device without float16 leaves the stored scale alone: a later start on one that has it goes
  // on with it.
  if (needs_scale() && !state_.scale.dynamic) state_.scale = LossScale::for_float16();
  machine.adapters.to_device(machine.ctx);
  if (config_.profile) profile_.emplace(machine.ctx);
}

void Loop::resume() {
  const std::optional<std::string> path = find_checkpoint();
  if (!path) return;
  state_ = on_all(world_, [&] {
    return CheckpointStore::load(*path, state_.identity, machine_.model.spec(),
                                 machine_.trained(config_));
  });
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
  all_or_none(world_, [&] { log_.begin(state_.step, steps_.steps(), leads()); });
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

void Loop::write_profile() {
  if (!profile_ || profile_->empty()) return;
  const std::string file = fmt::format("{}/profile-rank{}.json", config_.output_dir, world_.rank());
  all_or_none(world_, [&] { io::write_file(file, profile_->trace(world_.rank())); });
  for (const std::string& line : profile_->table()) console_.line(line);
  console_.line(fmt::format("         as a trace for ui.perfetto.dev: {}", file));
  profile_.reset();
}

void Loop::watch_loss(const StepMetrics& m) {
  if (!config_.loss_watchdog_threshold) return;
  const double most = *config_.loss_watchdog_threshold;
  state_.high_losses = m.loss > most ? state_.high_losses + 1 : 0;
  if (state_.high_losses < config_.loss_watchdog_patience) return;
  throw Diverged(fmt::format(
      "step {}: the loss is {:.4f}, and has been above loss_watchdog_threshold {:g} for {} step{}; "
      "lower learning_rate, or look at the data of these steps",
      m.step, m.loss, most, state_.high_losses, state_.high_losses == 1 ? "" : "s"));
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
  for (const std::string& line : checkpoints_.rotate(step, best_step()))
    console_.line("warning: " + line);
}

std::string Loop::take_best() {
  const std::optional<int64_t> best = best_step();
  if (!best || *best == state_.step) return "adapter";
  const std::string path = checkpoints_.path_of(*best);
  try {
    on_all(world_, [&] {
      return CheckpointStore::load(path, state_.identity, machine_.model.spec(),
                                   machine_.trained(config_));
    });
    machine_.adapters.to_device(machine_.ctx);
  } catch (const Error& error) {  // a full disk had no room for it
    console_.line(fmt::format("warning: the adapter is that of the last step, not of step {}: {}",
                              *best, error.what()));
    return "adapter";
  }
  return fmt::format("adapter of step {} (loss {:.4f})", *best, *state_.evaluations.best);
}

void Loop::finish() {
  const int64_t step = state_.step;
  save(step, true);
  const std::string adapter = take_best();
  all_or_none(world_, [&] {
    if (leads()) lora::save_peft(config_.output_dir, machine_.adapters, config_.base_model);
  });
  evaluations_.sample(step);
  folder_.end(step, true);
  console_.line(fmt::format("done     {} steps{}; {} in {}", step,
                            log_.summary(step, machine_.model.scheduler().waited_seconds()),
                            adapter, config_.output_dir));
}

int Loop::run() {
  const StopSignals signals;
  if (over() && folder_.finished(state_.step)) {
    console_.line(fmt::format(
        "the run in {0} is finished already (step {1} of {2}): nothing is trained or written. To "
        "train its adapter further, start another run with lora_model_dir={0} and another "
        "output_dir",
        config_.output_dir, state_.step, steps_.steps()));
    return kFinished;
  }
  begin();
  if (!take_steps(steps_.steps())) return stop();
  if (stops_early()) {
    console_.line(fmt::format(
        "step {}: stopped early: {} evaluations without a gain on loss {:.4f} of step {}",
        state_.step, state_.evaluations.without_gain, *state_.evaluations.best,
        state_.evaluations.best_step));
  } else {
    evaluations_.evaluate(state_.step, state_.evaluations);
  }
  write_profile();
  finish();
  return kFinished;
}

int Loop::run_until(int64_t last, FunctionRef<void(RunMachine&, const RunState&)> measure) {
  const StopSignals signals;
  begin();
  if (!take_steps(last)) return stop();
  write_profile();
  save(state_.step, true);
  measure(machine_, state_);
  folder_.end(state_.step, false);
  return kFinished;
}

bool Loop::take_steps(int64_t last) {
  if (config_.eval_on_start && state_.step == 0) evaluations_.evaluate(0, state_.evaluations);
  while (!over() && state_.step < last) {
    if (profile_) profile_->begin_step();
    const StepMetrics metrics = run_step(state_.step);
    if (profile_) profile_->end_step(metrics.step);
    log_.step(metrics);
    if (profile_ && profile_->complete()) write_profile();
    watch_loss(metrics);
    const int64_t done = state_.step;
    if (done == steps_.steps()) break;
    const Cadence::Moment now = {done, steps_.steps(), steps_.epoch_after(done - 1),
                                 steps_.epoch_after(done)};
    bool save_now = save_cadence(config_).due(now);
    if (eval_cadence(config_).due(now) && evaluations_.evaluate(done, state_.evaluations)) {
      save_now = save_now || keeps_best();
    }
    if (stops_early()) break;
    if (config_.sample_steps && done % *config_.sample_steps == 0) evaluations_.sample(done);
    if (on_any_rank(world_, StopSignals::received() != 0)) return false;
    if (save_now) save(done, false);
  }
  return true;
}

int Loop::stop() {
  write_profile();
  save(state_.step, true);
  folder_.end(state_.step, false);
  console_.line(fmt::format(
      "stopped after step {} of {}; to go on, add to the same command: "
      "resume_from_checkpoint=auto{}",
      state_.step, steps_.steps(), folder_.overwrites() ? " overwrite_output_dir=null" : ""));
  return kStopped;
}

}  // namespace

int train(const Config& config, parallel::Communicator& world) {
  RunStart start(config, world);
  const RunPlan plan = plan_run(config, start.inputs, world, start.ctx);
  RunRecord record = run_record(run_facts(plan, start.inputs, start.ctx), plan, start.inputs);
  print_banner(start.console, record.facts, plan);
  start.folder.set_record(std::move(record));
  LoadedModel model = load_base(start, plan);
  return train_all({start, plan, model, start.folder});
}

int train_all(const RunParts& run) {
  RunMachine machine(run.start.ctx, run.model, run.start.inputs, run.plan, run.start.world);
  return Loop(run, machine).run();
}

int train_until(const RunParts& run, int64_t last,
                FunctionRef<void(RunMachine&, const RunState&)> measure) {
  RunMachine machine(run.start.ctx, run.model, run.start.inputs, run.plan, run.start.world);
  return Loop(run, machine).run_until(last, measure);
}

}  // namespace tessera::launch
