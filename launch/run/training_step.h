// One optimizer step: this rank's micro-batches through the decoder, the exchange of gradients with
// the other ranks, and the update. The same bits on every rank and on any number of ranks, unless
// `reduction: fast` asks otherwise.
#pragma once

#include <span>
#include <vector>

#include "launch/config/config.h"
#include "launch/machine/agreement.h"
#include "launch/run/loss_scale.h"
#include "lora/decoder/training_pass.h"
#include "optim/optimizer.h"
#include "parallel/gradient_tree.h"

namespace tessera::launch {

struct StepResult {
  double loss;       // weighted mean over the supervised tokens of all micro-batches
  double grad_norm;  // before clipping; infinite where the step was skipped
  bool skipped;      // the gradient overflowed float16: nothing was updated
};

/// The numbers of a run went wrong, and nothing else did.
class Diverged : public SharedError {
 public:
  using SharedError::SharedError;
};

class TrainingStep {
 public:
  /// What a step works with; all outlive it. The optimizer's range is the whole of the adapters, or
  /// with optimizer_sharding this rank's slice.
  struct Tools {
    Context& ctx;
    parallel::Communicator& world;
    lora::Decoder& decoder;
    const lora::Loss& loss;
    lora::AdapterSet& adapters;
    optim::Optimizer& optimizer;
  };
  TrainingStep(Tools tools, const Config& config);

  /// Collective; `batches` are the step's micro-batches in global order, the same on every rank.
  /// Diverged where a loss or the gradient is not finite: step, layer or tensor named, nothing
  /// updated.
  /// With a dynamic `scale`, a gradient that is not finite skips the step instead. Where all
  /// weights are 0, loss and gradient are 0, and the update follows as from any gradient.
  StepResult run(int64_t step, const std::vector<lora::Batch>& batches, double rate,
                 LossScale& scale);

 private:
  /// The weighted sum of the losses of all micro-batches, added in their order. Gradients go into
  /// the tree.
  double forward_backward(int64_t step, const std::vector<lora::Batch>& batches, float scale);
  /// Throws Diverged of what `look`, which runs on every rank, throws on the lowest that does.
  void diverge(FunctionRef<void()> look);
  [[noreturn]] void fail_non_finite(int64_t step, const std::vector<lora::Batch>& batches,
                                    const std::vector<double>& losses);
  /// The sum of the gradients over the optimizer's range, and the norm of the whole.
  struct Gradients {
    std::span<const float> mine;
    double norm;  // of the gradients as they are, times the loss scale
  };
  Gradients reduce(int64_t micro_batches);
  [[noreturn]] void fail_non_finite(int64_t step, const Gradients& gradients);
  std::vector<float> gather_chunk_sums(std::vector<float> mine);
  void update(const Gradients& gradients, double rate, double scale);

  Tools tools_;
  const Config& config_;
  lora::TrainingPass pass_;
  parallel::GradientTree tree_;
};

}  // namespace tessera::launch
