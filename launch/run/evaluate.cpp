#include "launch/run/evaluate.h"

#include <cmath>

#include "launch/machine/agreement.h"
#include "parallel/gradient_tree.h"

namespace tessera::launch {
double Evaluation::perplexity() const { return std::exp(loss); }

Evaluation evaluate(lora::Decoder& decoder, const lora::Loss& loss, const BatchSource& batches,
                    parallel::Communicator& world, Console& console) {
  const int64_t total = batches.size;
  const auto [first, count] = parallel::micro_batches_of(world.rank(), world.size(), total);
  const int64_t most = parallel::micro_batches_of(0, world.size(), total).count;
  lora::EvaluationPass pass(decoder, loss);
  std::vector<double> sums, weights, tokens;
  for (int64_t i = 0; i < most; ++i) {
    console.live(fmt::format("evaluating: batch {}/{}", i * world.size() + 1, total));
    if (i < count) {
      const lora::Batch batch = batches.batch(size_t(first + i));
      sums.push_back(pass.loss(batch, nullptr));
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

}  // namespace tessera::launch
