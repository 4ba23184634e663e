// The decoder that is trained: embedding, L blocks over frozen weights with adapters, head and
// loss. forward() leaves what backward() needs; backward() accumulates into the adapters'
// gradients. All memory comes from three arenas that plan() measures, and allocate() makes once,
// before any training.
#pragma once

#include <memory>
#include <vector>

#include "lora/adapter/adapter.h"
#include "lora/decoder/batch.h"
#include "lora/decoder/block.h"
#include "lora/decoder/head.h"
#include "lora/decoder/kv_cache.h"
#include "lora/decoder/offloaded_inputs.h"
#include "lora/model/base_weights.h"
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

  /// Bytes that the largest batch needs, by running the code over measure-only arenas. Nothing of
  /// the batch's size is allocated. `training` false plans for loss() only. Error (usage) for more
  /// tokens than an int32 counts.
  struct Memory {
    size_t activations = 0;
    size_t scratch = 0;
    size_t offloaded = 0;  // in host memory
    size_t tables = 0;     // cosines and sines of the positions

    bool operator==(const Memory&) const = default;
  };
  Memory plan(int64_t max_tokens, bool training);
  /// Makes the memory that the last plan() or plan_steps() found.
  void allocate();
  /// What has been in use at most since allocate().
  Memory high_water();

  /// Sum of the losses of the supervised tokens. Prepares backward() of `scale` times that sum.
  double forward(const BatchView& batch, RunKey key, float scale);
  /// Of the batch of the last forward(), whose values must still be there.
  void backward();

  /// The same sum without dropout and without a backward; per-token losses appended if asked for.
  double loss(const BatchView& batch, std::vector<float>* losses);

  /// Takes part in the gathers of a forward (and backward) that other ranks run: what a rank calls
  /// that has no batch while others of its group have. Nothing where gathers are not collective.
  void idle(bool training);

  /// Runs a batch whose loss is not finite once more, and says where the first bad value appears:
  /// "first in layer 3" or the like.
  std::string describe_non_finite(const BatchView& batch);

  /// Plans for step() of at most max_tokens tokens a call over `cache`.
  Memory plan_steps(int64_t max_tokens, const KvCache& cache);
  /// Where the decoder runs, and in its dtype.
  KvCache make_cache(int64_t sequences, int64_t capacity) const {
    return KvCache(ctx_, spec(), sequences, capacity);
  }
  size_t cache_bytes(int64_t sequences, int64_t capacity) const {
    return KvCache::bytes(ctx_, spec(), sequences, capacity);
  }
  /// Appends each feed's tokens to its sequence in the cache; returns the logits [feeds, V] that
  /// follow each feed's last token.
  std::vector<float> step(KvCache& cache, std::span<const Feed> feeds);

  const ModelSpec& spec() const { return base_.spec(); }
  Device device() const { return ctx_.device(); }

 private:
  struct Pass {
    RunKey key;
    bool training;
  };

  /// Sees every block's output [N, C] (layer -1: the embedding) of a forward.
  using Visit = FunctionRef<void(int64_t layer, Tensor x)>;
  /// How each layer's attention is done.
  using AttendAt = FunctionRef<void(int64_t layer, const Block& block, const BlockSaved& s)>;

  /// The last block's output, without anything left for a backward.
  Tensor run_layers(const BatchView& batch, AttendAt attend, Visit visit);
  Tensor run_layers_on_samples(const BatchView& batch, Visit visit);
  Tensor run_steps(const KvCache& cache, std::span<const Feed> feeds);
  /// Layers of a group from x; fills saved_. y is the last one's output; empty: not computed.
  void run_group(const parallel::LayerGroup& group, Tensor x, Tensor y, const BlockInput& input);

  int64_t offloads_before(size_t group) const;
  Memory measured(FunctionRef<void()> run);
  void attend_to_cache(const BlockSaved& s, int64_t layer, const KvCache& cache,
                       std::span<const Feed> feeds);
  void shape_rope(int64_t positions);
  void fill_rope();
  /// Brings what the blocks need to know of the batch to where they run. `tables`: see
  /// AttentionSamples.
  void begin_batch(const BatchView& batch, int tables);
  BlockInput block_input();
  Block bind(const parallel::LayerLease& lease, int64_t layer) const;
  void unpack(const parallel::LayerLease& lease, int64_t layer);
  Head head() const;

  Context& ctx_;
  BaseWeights& base_;
  parallel::LayerScheduler& scheduler_;
  const AdapterSet* adapters_;
  Buffer rope_memory_;
  Tensor cos_, sin_;
  // Of the pass under way.
  Tensor positions_;  // [N]
  AttentionSamples samples_;

  Memory planned_;
  Arena activations_;
  OffloadedInputs offloaded_;
  Pass pass_{};
  /// Matrices of the activations' dtype that bind() takes for one layer instead of its blob's.
  struct Unpacked {
    int64_t layer = -1;
    std::array<quant::FrozenMatrix, kSiteCount> matrix;
  } unpacked_;
  std::vector<BlockSaved> saved_;  // of each layer that is kept, or being recomputed
  std::vector<Tensor> inputs_;     // [N, C] of each group, and the last one's output
  std::vector<size_t> marks_;      // of activations_ before each group
  Tensor gradient_;                // [N, C] of the last block's output, set by forward()
};

}  // namespace tessera::lora
