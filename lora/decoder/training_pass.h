// One micro-batch of training: forward() leaves what backward() needs; backward() adds to the
// gradient buffer that the adapters are bound to. TrainingStep binds a zeroed one for each
// micro-batch, and sums them over micro-batches and ranks (parallel/gradient_tree.h). Both walk the
// visits that the scheduler makes of the layers' policies.
#pragma once

#include <optional>
#include <vector>

#include "lora/decoder/decoder.h"

namespace tessera::lora {

class TrainingPass {
 public:
  /// Both must outlive it.
  TrainingPass(Decoder& decoder, const Loss& loss) : decoder_(decoder), loss_(loss) {}

  /// NEFTune's alpha, above 0; empty: no noise. It takes no memory.
  void set_noise_alpha(std::optional<double> alpha) { noise_alpha_ = alpha; }

  /// Bytes that the largest batch needs. Error (usage) as check_tokens().
  Decoder::Memory plan(int64_t max_tokens);

  /// Weighted sum of the losses of the supervised tokens. Prepares backward() of `scale` times it.
  double forward(const BatchView& batch, RunKey key, float scale);
  /// Of the batch of the last forward(), whose values must still be there.
  void backward();

  /// For a rank that has no batch while others of its group have: see LayerScheduler::idle_pass().
  void idle() { decoder_.scheduler().idle_pass(true); }

 private:
  using Visits = std::span<const parallel::Visit>;

  Tensor place_of_input(bool offloaded);
  /// The block of a visit, forward or again, from x; fills saved_. An empty y is not computed.
  void run(const parallel::Visit& visit, Tensor x, Tensor y);
  /// All visits of a group that belong to the backward, the second forward included.
  void run_back(Visits visits);

  Decoder& decoder_;
  const Loss& loss_;
  std::optional<double> noise_alpha_;
  RunKey key_;
  PlacedBatch batch_;
  std::span<const int32_t> ids_;  // of the batch
  Visits backward_;               // of the pass under way
  UnpackedLayer unpacked_;  // on a GPU, of the layer that is next: bind() uses it for no other
  std::vector<BlockSaved> saved_;  // of each layer that is kept, or being recomputed
  Tensor gradient_;                // [N, C] of the last block's output, set by forward()
  /// A group whose backward is still to come.
  struct Group {
    size_t mark;   // of the activations before it
    Tensor input;  // [N, C]; in a buffer of the offloaded inputs only until it has moved
  };
  std::vector<Group> groups_;
  int64_t offloaded_ = 0;  // inputs so far
};

}  // namespace tessera::lora
