// What the passes over a model share: its weights and adapters, one layer at a time, and the memory
// of activations. TrainingPass, EvaluationPass and GenerationStep run on it, one at a time. All of
// its memory comes from three arenas that measure() sizes, and allocate() makes once.
#pragma once

#include <optional>

#include "lora/adapter/adapter.h"
#include "lora/decoder/batch.h"
#include "lora/decoder/block.h"
#include "lora/decoder/head.h"
#include "lora/decoder/offloaded_inputs.h"
#include "lora/model/base_weights.h"
#include "parallel/layer_scheduler.h"

namespace tessera::lora {

/// What identifies one micro-batch of training: it keys dropout and noise, so that any rank and any
/// recomputation draw the same.
struct RunKey {
  uint64_t step = 0;
  uint64_t micro_batch = 0;  // global index inside the step
};

/// NEFTune: uniform noise on what the embedding gives, of at most alpha / sqrt(L C), where L is the
/// tokens of the batch's longest row: transformers has it of a padded batch, whose rows are as
/// long.
struct EmbeddingNoise {
  double alpha;
  RunKey key;
};

/// A layer's matrices in the dtype of the activations, which bind() takes instead of its blob's.
struct UnpackedLayer {
  int64_t layer = -1;
  std::array<quant::FrozenMatrix, kSiteCount> matrix = {};
};

/// What the blocks need to know of a batch, where they run.
struct PlacedBatch {
  PlacedRopes ropes;
  AttentionSamples samples;
};

class Decoder {
 public:
  /// adapters may be null (the base alone). All references must outlive the decoder.
  Decoder(Context& ctx, BaseWeights& base, parallel::LayerScheduler& scheduler,
          AdapterSet* adapters);

  struct Memory {
    size_t activations = 0;
    size_t scratch = 0;
    size_t offloaded = 0;  // in host memory
    size_t tables = 0;     // cosines and sines of the positions

    bool operator==(const Memory&) const = default;
  };
  /// The memory that `run` takes, which is a pass over tokens at `positions` positions, by running
  /// it over measure-only arenas. Nothing of the batch's size is allocated.
  Memory measure(int64_t positions, FunctionRef<void()> run);
  /// Makes the memory that the last measure() found.
  void allocate();
  /// Gives the memory of the last allocate() back, once nothing runs in it.
  void release();
  /// What has been in use at most since allocate().
  Memory high_water();

  Context& context() { return ctx_; }
  const Context& context() const { return ctx_; }
  const ModelSpec& spec() const { return base_.spec(); }
  parallel::LayerScheduler& scheduler() { return scheduler_; }
  Arena& activations() { return activations_; }
  OffloadedInputs& offloaded() { return offloaded_; }

  /// [N, columns] of the activations' dtype, from their arena.
  Tensor activation(int64_t rows, int64_t columns) {
    return activations_.tensor(ctx_.activation_dtype(), {rows, columns});
  }
  /// Brings a batch to where the blocks run. `tables`: see AttentionSamples.
  PlacedBatch place(const BatchView& batch, int tables);
  BlockInput input_of(PlacedBatch& batch) const;
  /// [N, C] of the batch's ids into x, scaled as the model has it, with noise where it is asked
  /// for.
  void embed(Tensor x, const BatchView& batch, const std::optional<EmbeddingNoise>& noise);
  /// Whether the embedding is trained, so that a backward has to go on to it.
  bool trains_embedding() const { return whole(Role::kEmbedding) || token_rows(); }
  /// Its gradient by that of what embed() made, d[N,C], which is overwritten.
  void embed_backward(Tensor d, std::span<const int32_t> ids);
  /// A layer as the operators take it, for as long as the lease lasts. With a key, the adapters
  /// drop out.
  Block bind(const parallel::LayerLease& lease, int64_t layer,
             const std::optional<RunKey>& training, const UnpackedLayer& unpacked) const;
  /// Dequantizes a layer into scratch, so that a GPU does so once for its second forward and the
  /// backward right after it. (The CPU dequantizes in its caches, while it multiplies.)
  UnpackedLayer unpack(const parallel::LayerLease& lease, int64_t layer);
  Head head() const;

 private:
  const WholeMatrix* whole(Role role) const { return adapters_ ? adapters_->whole(role) : nullptr; }
  const TokenRows* token_rows() const { return adapters_ ? adapters_->token_rows() : nullptr; }
  /// Makes those of x[N,C] whose tokens have trained rows those rows.
  void embed_token_rows(Tensor x, const TokenRows& trained, std::span<const int32_t> ids);
  void add_embedding_noise(Tensor x, const BatchView& batch, const EmbeddingNoise& noise);
  /// What embed() multiplies by.
  float embedding_scale() const;

  Context& ctx_;
  BaseWeights& base_;
  parallel::LayerScheduler& scheduler_;
  AdapterSet* adapters_;
  RopeTables ropes_;
  Memory planned_;
  Arena activations_;
  OffloadedInputs offloaded_;
};

/// Error (usage) for a micro-batch of more tokens than an int32 counts.
void check_tokens(int64_t tokens);

}  // namespace tessera::lora
