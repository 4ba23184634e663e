#include "lora/decoder/decoder.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "runtime/ops/embedding.h"
#include "runtime/ops/noise.h"
#include "runtime/ops/rows.h"
#include "runtime/ops/scale.h"
#include "runtime/ops/transfer.h"

namespace tessera::lora {

using parallel::LayerLease;

void check_tokens(int64_t tokens) {
  if (tokens <= std::numeric_limits<int32_t>::max()) return;
  fail_usage(
      "a micro-batch of {} tokens is too large, the most is {}; make micro_batch_size or "
      "sequence_len smaller",
      tokens, std::numeric_limits<int32_t>::max());
}

Decoder::Decoder(Context& ctx, BaseWeights& base, parallel::LayerScheduler& scheduler,
                 AdapterSet* adapters)
    : ctx_(ctx), base_(base), scheduler_(scheduler), adapters_(adapters), ropes_(base.spec()) {}

Decoder::Memory Decoder::measure(int64_t positions, FunctionRef<void()> run) {
  ropes_.measure(ctx_.device(), positions);
  activations_ = Arena(ctx_.device());
  ctx_.set_scratch(Arena(ctx_.device()));
  offloaded_.set_host(Arena(ctx_.device()));
  run();
  return planned_ = high_water();
}

Decoder::Memory Decoder::high_water() {
  return {.activations = activations_.high_water(),
          .scratch = ctx_.scratch().high_water(),
          .offloaded = offloaded_.host().high_water(),
          .tables = ropes_.bytes()};
}

void Decoder::allocate() {
  const Device device = ctx_.device();
  activations_ = Arena(device, planned_.activations);
  ctx_.set_scratch(Arena(device, planned_.scratch));
  offloaded_.set_host(Arena(device, Buffer::staging_for(device, planned_.offloaded)));
  ropes_.allocate(ctx_);
}

void Decoder::release() {
  ctx_.compute_stream().synchronize();
  measure(1, [] {});
}

PlacedBatch Decoder::place(const BatchView& batch, int tables) {
  const Tensor positions = to_device(ctx_, activations_, batch.positions);
  return {ropes_.place(ctx_, activations_, batch, positions),
          AttentionSamples(ctx_, activations_, batch.starts, tables)};
}

BlockInput Decoder::input_of(PlacedBatch& batch) const {
  return {.model = spec(), .ropes = batch.ropes.rules, .samples = batch.samples};
}

float Decoder::embedding_scale() const {
  const auto factor = float(spec().embedding_scale);
  return spec().rounds_embedding_scale ? rounded(ctx_.activation_dtype(), factor) : factor;
}

void Decoder::embed(Tensor x, const BatchView& batch, const std::optional<EmbeddingNoise>& noise) {
  const WholeMatrix* trained = whole(Role::kEmbedding);
  embedding(ctx_, x, trained ? trained->w : base_.embedding(), batch.ids);
  if (token_rows()) embed_token_rows(x, *token_rows(), batch.ids);
  // A module whose weights are scaled rounds the scale to their type, and what it gives is scaled
  // before the noise; other models scale behind the module.
  const bool scaled_first = spec().rounds_embedding_scale;
  if (noise && !scaled_first) add_embedding_noise(x, batch, *noise);
  if (embedding_scale() != 1.0f) scale(ctx_, x, embedding_scale());
  if (noise && scaled_first) add_embedding_noise(x, batch, *noise);
}

void Decoder::add_embedding_noise(Tensor x, const BatchView& batch, const EmbeddingNoise& noise) {
  constexpr uint64_t kLayer = 0, kSite = 0xff;  // no linear's
  static_assert(kSiteCount < kSite);
  const double elements = double(batch.row_tokens()) * double(x.cols());
  add_noise(ctx_, x, {ctx_.seed(), noise.key.step, noise.key.micro_batch, kLayer, kSite},
            float(noise.alpha / std::sqrt(elements)));
}

void Decoder::embed_token_rows(Tensor x, const TokenRows& trained, std::span<const int32_t> ids) {
  std::vector<int32_t> at, rows;
  if (ctx_.measuring()) {  // at most all of them
    at.resize(ids.size());
    rows.resize(ids.size());
  } else {
    for (size_t i = 0; i < ids.size(); ++i) {
      const int32_t row = trained.row_of(ids[i]);
      if (row < 0) continue;
      at.push_back(int32_t(i));
      rows.push_back(row);
    }
  }
  if (at.empty()) return;
  ArenaScope scope(ctx_.scratch());
  const Tensor y = ctx_.scratch().tensor(x.dtype(), {int64_t(at.size()), x.cols()});
  embedding(ctx_, y, trained.w, rows);
  scatter_rows(ctx_, x, y, at);
}

void Decoder::embed_backward(Tensor d, std::span<const int32_t> ids) {
  if (embedding_scale() != 1.0f) scale(ctx_, d, embedding_scale());
  const TokenRows* rows = token_rows();
  const Tensor gradient = rows ? rows->dw : whole(Role::kEmbedding)->dw;
  if (ctx_.measuring()) return embedding_backward(ctx_, gradient, d, ids);
  std::vector<int32_t> trained(ids.begin(), ids.end());
  std::ranges::replace(trained, spec().pad_id, -1);
  if (rows) {
    for (int32_t& id : trained) id = rows->row_of(id);
  }
  embedding_backward(ctx_, gradient, d, trained);
}

Head Decoder::head() const {
  const ModelSpec& model = spec();
  const WholeMatrix* trained = whole(Role::kHead);
  const TokenRows* rows = model.tied_head ? token_rows() : nullptr;
  return {.norm = {base_.final_norm(), model.rms_eps, model.norm_plus},
          .matrix = base_.head(),
          .trained = trained ? trained->w : Tensor(),
          .gradient = trained ? trained->dw : Tensor(),
          .rows = rows ? TrainedRows{rows->ids, rows->w, rows->dw} : TrainedRows(),
          .logit_scale = float(model.logit_scale),
          .softcap = float(model.logit_softcap)};
}

UnpackedLayer Decoder::unpack(const LayerLease& lease, int64_t layer) {
  if (!ctx_.device().is_cuda()) return {};
  const DType dtype = ctx_.activation_dtype();
  UnpackedLayer unpacked{.layer = layer};
  for (const PlacedTensor& tensor : base_.layout().layers[size_t(layer)].tensors) {
    if (!tensor.is_matrix()) continue;
    quant::FrozenMatrix& matrix = unpacked.matrix[size_t(tensor.row.site)];
    matrix = tensor.matrix_in(lease.data());
    if (matrix.spec().is_dense(dtype)) continue;
    const quant::FrozenSpec spec{{quant::format_of(dtype)}, matrix.rows(), matrix.cols()};
    const Tensor copy = ctx_.scratch().tensor(dtype, {spec.rows, spec.cols});
    matrix.dequantize(ctx_, copy);
    matrix = {spec, static_cast<const std::byte*>(copy.raw())};
  }
  return unpacked;
}

Block Decoder::bind(const LayerLease& lease, int64_t layer, const std::optional<RunKey>& training,
                    const UnpackedLayer& unpacked) const {
  Block block{spec().layers[size_t(layer)]};
  for (const PlacedTensor& tensor : base_.layout().layers[size_t(layer)].tensors) {
    const TensorRow& row = tensor.row;
    if (row.role == Role::kNorm) {
      block.norm[size_t(row.norm)] = tensor.tensor_in(lease.data(), ctx_.device());
      continue;
    }
    const size_t site = size_t(row.site);
    Linear& linear = block.linear[site];
    if (row.role == Role::kBias) {  // behind all linears: see BlobLayout
      linear.set_bias(tensor.tensor_in(lease.data(), ctx_.device()));
      continue;
    }
    linear =
        Linear(layer == unpacked.layer ? unpacked.matrix[site] : tensor.matrix_in(lease.data()),
               adapters_ ? adapters_->find(layer, row.site) : nullptr);
    if (training && adapters_) {
      linear.set_dropout(
          {ctx_.seed(), training->step, training->micro_batch, uint64_t(layer), uint64_t(site)},
          adapters_->options().dropout);
    }
  }
  return block;
}

}  // namespace tessera::lora
