#include "launch/run/training_step.h"

#include <algorithm>
#include <cmath>

#include "launch/machine/agreement.h"
#include "lora/decoder/evaluation_pass.h"
#include "optim/grad_norm.h"
#include "runtime/ops/transfer.h"

namespace tessera::launch {
namespace {

static_assert(parallel::kSliceUnit == optim::kNormChunk,
              "ranks put the chunk sums of their slices together to those of the whole");

/// The first adapter tensor whose gradient holds an infinity or NaN, by name. `grads` are those of
/// a range of the flat buffer.
std::string first_non_finite(const lora::AdapterSet& adapters, optim::ElementRange range,
                             std::span<const float> grads) {
  const auto bad = std::ranges::find_if(grads, [](float g) { return !std::isfinite(g); });
  if (bad == grads.end()) return "the sum of squares overflows";
  const size_t at = range.begin + size_t(bad - grads.begin());
  const auto after = std::ranges::upper_bound(adapters.segments(), at, {}, &lora::Segment::offset);
  return std::prev(after)->name;
}

}  // namespace

TrainingStep::TrainingStep(Tools tools, const Config& config)
    : tools_(tools),
      config_(config),
      pass_(tools.decoder, tools.loss),
      tree_(tools.ctx, tools.adapters.size(), tools.world) {
  if (config.neftune_noise_alpha > 0) pass_.set_noise_alpha(config.neftune_noise_alpha);
  // Backward's shapes are those of real gradients, also where memory is only measured.
  tree_.begin_step({0, 1});
  tools_.adapters.set_gradient_buffer(tree_.leaf());
}

StepResult TrainingStep::run(int64_t step, const std::vector<lora::Batch>& batches, double rate,
                             LossScale& scale) {
  double weight = 0.0;
  for (const lora::Batch& batch : batches) weight += batch.weight();
  const auto mean = [&](double sum) { return weight > 0.0 ? sum / weight : 0.0; };
  tools_.world.set_phase(fmt::format("step {}, forward and backward", step + 1));
  const double sum = forward_backward(step, batches, float(mean(scale.factor)));
  tools_.world.set_phase(fmt::format("step {}, exchange of gradients", step + 1));
  const Gradients gradients = reduce(int64_t(batches.size()));
  const double loss = mean(sum);
  if (!std::isfinite(gradients.norm)) {
    if (!scale.dynamic || scale.factor <= 1.0) fail_non_finite(step, gradients);
    scale.step_was_skipped();
    return {loss, gradients.norm, true};
  }
  tools_.world.set_phase(fmt::format("step {}, optimizer", step + 1));
  update(gradients, rate, scale.factor);
  const double norm = gradients.norm / scale.factor;
  scale.step_was_good();
  return {loss, norm, false};
}

double TrainingStep::forward_backward(int64_t step, const std::vector<lora::Batch>& batches,
                                      float scale) {
  const auto total = int64_t(batches.size());
  const auto mine = parallel::micro_batches_of(tools_.world.rank(), tools_.world.size(), total);
  const int64_t most = parallel::micro_batches_of(0, tools_.world.size(), total).count;
  tree_.begin_step(mine);
  std::vector<double> losses;
  for (int64_t i = 0; i < most; ++i) {
    if (i >= mine.count) {
      pass_.idle();
      continue;
    }
    const lora::Batch& batch = batches[size_t(mine.first + i)];
    tools_.adapters.set_gradient_buffer(tree_.leaf());
    losses.push_back(pass_.forward(batch, {uint64_t(step), uint64_t(mine.first + i)}, scale));
    pass_.backward();
    const PartScope part(tools_.ctx.timeline(), ComputePart::kExchange);
    tree_.push();
  }
  tools_.world.set_phase(fmt::format("step {}, exchange of losses", step + 1));
  const PartScope part(tools_.ctx.timeline(), ComputePart::kExchange);
  const std::vector<double> all = gather_dealt(tools_.world, losses, total);
  double sum = 0.0;
  for (double loss : all) sum += loss;
  if (!std::isfinite(sum)) fail_non_finite(step, batches, all);
  return sum;
}

void TrainingStep::diverge(FunctionRef<void()> look) {
  try {
    all_or_none(tools_.world, look);
  } catch (const SharedError& error) {
    throw Diverged(error.what());
  }
}

void TrainingStep::fail_non_finite(int64_t step, const std::vector<lora::Batch>& batches,
                                   const std::vector<double>& losses) {
  const auto bad = std::ranges::find_if(losses, [](double x) { return !std::isfinite(x); });
  const auto index = bad == losses.end() ? 0 : bad - losses.begin();
  const auto mine =
      parallel::micro_batches_of(tools_.world.rank(), tools_.world.size(), int64_t(batches.size()));
  lora::EvaluationPass pass(tools_.decoder, tools_.loss);
  diverge([&] {
    if (index < mine.first || index >= mine.first + mine.count) return pass.idle();
    fail("step {}: the loss is {} ({}); lower learning_rate, or check the data and the base model",
         step + 1, losses[size_t(index)], pass.describe_non_finite(batches[size_t(index)]));
  });
  throw Diverged(fmt::format("step {}: the loss is not finite; lower learning_rate", step + 1));
}

TrainingStep::Gradients TrainingStep::reduce(int64_t micro_batches) {
  const PartScope part(tools_.ctx.timeline(), ComputePart::kExchange);
  const optim::ElementRange range = tools_.optimizer.range();
  std::span<const float> mine;
  if (config_.reduction == Reduction::kFast) {
    mine = tree_.reduce_fast().subspan(range.begin, range.size());
  } else if (config_.optimizer_sharding) {
    mine = tree_.reduce_slice(micro_batches).first(range.size());
  } else {
    mine = tree_.reduce(micro_batches);
  }
  std::vector<float> sums = optim::chunk_sums(tools_.ctx, mine);
  if (config_.optimizer_sharding) sums = gather_chunk_sums(std::move(sums));
  const double norm = optim::norm_of(sums);
  return {mine, norm};
}

void TrainingStep::fail_non_finite(int64_t step, const Gradients& gradients) {
  const Tensor on_device =
      Tensor::of(gradients.mine, {int64_t(gradients.mine.size())}, tools_.ctx.device());
  diverge([&] {
    fail("step {}: the gradient is not finite ({}); lower learning_rate", step + 1,
         first_non_finite(tools_.adapters, tools_.optimizer.range(),
                          to_host(tools_.ctx, on_device)));
  });
  throw Diverged(fmt::format("step {}: the gradient is not finite; lower learning_rate", step + 1));
}

std::vector<float> TrainingStep::gather_chunk_sums(std::vector<float> mine) {
  const size_t each =
      parallel::slice_elements(tools_.adapters.size(), tools_.world.size()) / parallel::kSliceUnit;
  mine.resize(each);
  return parallel::gather_values(tools_.world, std::span<const float>(mine));
}

void TrainingStep::update(const Gradients& gradients, double rate, double scale) {
  const PartScope part(tools_.ctx.timeline(), ComputePart::kOptimizer);
  const optim::ElementRange range = tools_.optimizer.range();
  const std::span<float> params =
      tools_.adapters.device_params().subspan(range.begin, range.size());
  tools_.optimizer.step(
      tools_.ctx, params, gradients.mine, rate,
      optim::clip_factor(gradients.norm / scale, config_.max_grad_norm) / float(scale));
  if (config_.optimizer_sharding) tree_.gather_slices(params, tools_.adapters.device_params());
}

}  // namespace tessera::launch
