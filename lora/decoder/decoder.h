// The decoder that is trained: embedding, L blocks over frozen weights with adapters, head and
// loss. forward() leaves what backward() needs; backward() accumulates into the adapters'
// gradients. All memory comes from two arenas that plan() measures and allocates once, before any
// training.
#pragma once

#include <memory>
#include <vector>

#include "lora/adapter.h"
#include "lora/decoder/base_weights.h"
#include "lora/decoder/batch.h"
#include "lora/decoder/head.h"
#include "lora/decoder/kv_cache.h"
#include "parallel/layer_scheduler.h"

namespace tessera::lora {

/// What identifies one micro-batch of training: it keys dropout, so that any rank and any
/// recomputation draw the same masks.
struct RunKey {
  uint64_t step = 0;
  uint64_t micro_batch = 0;  // global index inside the step
};

class Decoder {
 public:
  /// adapters may be null (the base alone). All references must outlive the decoder.
  Decoder(Context& ctx, BaseWeights& base, parallel::LayerScheduler& scheduler,
          const AdapterSet* adapters);

  /// Activation and scratch bytes of the largest batch, by running the code over measure-only
  /// arenas; then allocates them. `training` false plans for loss() only.
  struct Memory {
    size_t activations = 0;
    size_t scratch = 0;
  };
  Memory plan(int64_t max_tokens, bool training);

  /// Sum of the losses of the supervised tokens. Prepares backward() of `scale` times that sum.
  double forward(const Batch& batch, RunKey key, float scale);
  /// Must follow forward() of the same batch.
  void backward(const Batch& batch);

  /// The same sum without dropout and without a backward; per-token losses appended if asked for.
  double loss(const Batch& batch, std::vector<float>* losses) {
    return run_forward(batch, losses, [](int64_t, Tensor) {});
  }

  /// Runs a batch whose loss is not finite once more, and says where the first bad value appears:
  /// "first in layer 3" or the like.
  std::string describe_non_finite(const Batch& batch);

  /// Plans for step() of at most max_tokens tokens a call over `cache`.
  Memory plan_steps(int64_t max_tokens, const KvCache& cache);
  /// Appends each feed's tokens to its sequence in the cache; returns the logits [feeds, V] that
  /// follow each feed's last token. Valid until the next call.
  Tensor step(KvCache& cache, std::span<const Feed> feeds);

  const DecoderConfig& config() const { return base_.config(); }

 private:
  struct Pass {
    RunKey key;
    bool training;
  };

  /// Forward without a backward; `visit` sees every block's output [N, C] (layer -1: the
  /// embedding).
  double run_forward(const Batch& batch, std::vector<float>* losses,
                     FunctionRef<void(int64_t layer, Tensor x)> visit);
  void measure();
  Memory allocate_arenas();
  Tensor run_steps(const KvCache& cache, std::span<const Feed> feeds);
  void attend_to_cache(const BlockSaved& s, int64_t layer, const KvCache& cache,
                       std::span<const Feed> feeds);
  void reserve_rope(int64_t positions);
  BlockInput input_of(const Batch& batch) const;
  Block bind(const parallel::LayerLease& lease, int64_t layer) const;
  void embed(Tensor x, const Batch& batch);
  bool recomputes(int64_t layer) const;
  Head head() const;

  Context& ctx_;
  BaseWeights& base_;
  parallel::LayerScheduler& scheduler_;
  const AdapterSet* adapters_;
  Buffer rope_memory_;
  Tensor cos_, sin_;

  Arena activations_;
  Pass pass_{};
  std::vector<BlockSaved> saved_;  // of each layer; only x where the policy is to recompute
  std::vector<size_t> marks_;      // of activations_ before each layer
  Tensor gradient_;                // [N, C] of the last block's output, set by forward()
};

}  // namespace tessera::lora
