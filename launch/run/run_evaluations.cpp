#include "launch/run/run_evaluations.h"

#include "launch/machine/agreement.h"
#include "launch/run/evaluate.h"

namespace tessera::launch {

bool RunEvaluations::evaluate(int64_t step, EvaluationRecord& record) {
  const auto& sets = inputs_.data.evaluation;
  bool best = false;
  for (size_t i = 0; i < sets.size(); ++i) {
    const RunData::EvaluationSet& set = sets[i];
    // The only one needs no name in the metrics.
    const std::string name = sets.size() > 1 ? set.name : "";
    // An earlier start has written this evaluation, and ended before it wrote the adapter.
    if (on_any_rank(world_, log_.has_evaluation(step, name))) continue;
    world_.set_phase(fmt::format("evaluation after step {}", step));
    const EvaluationBatches batches(set.samples, inputs_.data.options);
    const Evaluation e = launch::evaluate(
        machine_.decoder, machine_.loss,
        {int64_t(batches.size()), [&](size_t b) { return batches[b]; }}, world_, console_);
    log_.evaluation(step, name, set.name, e);
    if (step > 0 && i == inputs_.data.judged)
      best = record.add(step, e.loss, plan_.config.early_stopping_threshold);
  }
  return best;
}

void RunEvaluations::sample(int64_t step) {
  const TrainingSamples& samples = inputs_.samples;
  if (samples.empty() || on_any_rank(world_, log_.has_samples(step))) return;
  world_.set_phase(fmt::format("samples after step {}", step));
  // Together they need memory that ranks may have differently.
  const std::vector<std::string> texts =
      samples.answers(machine_.decoder, world_.size() == 1 ? 4 : 1);
  for (size_t i = 0; i < texts.size(); ++i) log_.sample(step, samples.prompt(i), texts[i]);
  machine_.allocate(plan_);
}

}  // namespace tessera::launch
