#include "launch/run/evaluate.h"

#include <cmath>

#include "launch/machine/agreement.h"
#include "parallel/gradient_tree.h"

namespace tessera::launch {
namespace {

/// compute(index, batch) gives the weighted sum of a batch's losses.
Evaluation evaluate_with(lora::EvaluationPass& pass, const BatchSource& batches,
                         parallel::Communicator& world, Console& console,
                         FunctionRef<double(size_t index, const lora::Batch& batch)> compute) {
  const int64_t total = batches.size;
  const auto [first, count] = parallel::micro_batches_of(world.rank(), world.size(), total);
  const int64_t most = parallel::micro_batches_of(0, world.size(), total).count;
  std::vector<double> sums, weights, tokens;
  for (int64_t i = 0; i < most; ++i) {
    console.live(fmt::format("evaluating: batch {}/{}", i * world.size() + 1, total));
    if (i < count) {
      const auto index = size_t(first + i);
      const lora::Batch batch = batches.batch(index);
      sums.push_back(compute(index, batch));
      weights.push_back(batch.weight());
      tokens.push_back(double(batch.supervised()));
    } else {
      pass.idle();
    }
  }
  console.live("");
  Evaluation result;
  double weight = 0.0;
  for (double n : gather_dealt(world, tokens, total)) result.tokens += int64_t(n);
  for (double w : gather_dealt(world, weights, total)) weight += w;
  if (!(weight > 0.0)) {
    throw SharedError(fmt::format(
        "the weights of the {} supervised tokens to evaluate add up to {}; give some of their "
        "rows a weight above 0",
        result.tokens, weight));
  }
  for (double sum : gather_dealt(world, sums, total)) result.loss += sum;
  result.loss /= weight;
  return result;
}

}  // namespace

double Evaluation::perplexity() const { return std::exp(loss); }

Evaluation evaluate(lora::Decoder& decoder, const lora::Loss& loss, const BatchSource& batches,
                    parallel::Communicator& world, Console& console) {
  lora::EvaluationPass pass(decoder, loss);
  return evaluate_with(pass, batches, world, console,
                       [&](size_t, const lora::Batch& batch) { return pass.loss(batch, nullptr); });
}

Evaluation evaluate(lora::Decoder& decoder, const lora::Loss& loss, const BatchSource& batches,
                    parallel::Communicator& world, Console& console, SeeScores see) {
  lora::EvaluationPass pass(decoder, loss);
  lora::TokenScores scores;
  return evaluate_with(pass, batches, world, console, [&](size_t index, const lora::Batch& batch) {
    scores.losses.clear();
    scores.guesses.clear();
    const double sum = pass.score(batch, scores);
    see(index, batch, scores);
    return sum;
  });
}

}  // namespace tessera::launch
