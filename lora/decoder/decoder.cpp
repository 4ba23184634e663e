#include "lora/decoder/decoder.h"

#include <limits>

#include "runtime/ops/embedding.h"
#include "runtime/ops/rope.h"
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
    : ctx_(ctx), base_(base), scheduler_(scheduler), adapters_(adapters) {
  check_computable(base.spec());
}

Decoder::Memory Decoder::measure(int64_t positions, FunctionRef<void()> run) {
  const int64_t half = spec().layers.front().attention.head_dim / 2;
  cos_ = sin_ = Tensor(nullptr, DType::kF32, {positions, half}, ctx_.device());
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
          .tables = cos_.bytes() + sin_.bytes()};
}

void Decoder::allocate() {
  const Device device = ctx_.device();
  activations_ = Arena(device, planned_.activations);
  ctx_.set_scratch(Arena(device, planned_.scratch));
  offloaded_.set_host(Arena(device, Buffer::staging_for(device, planned_.offloaded)));
  fill_rope();
}

void Decoder::fill_rope() {
  const size_t half = cos_.bytes();
  const auto table = [&](const Buffer& memory, size_t offset, Device device) {
    return Tensor(memory.data() + offset, DType::kF32, {cos_.rows(), cos_.cols()}, device);
  };
  const Buffer made = Buffer::host(2 * half);
  rope_table(table(made, 0, {}), table(made, half, {}), spec().rope_theta, spec().rope_scaling);
  rope_memory_ = Buffer::on(ctx_.device(), 2 * half);
  copy_bytes(ctx_, rope_memory_.data(), made.data(), 2 * half);
  ctx_.compute_stream().synchronize();
  cos_ = table(rope_memory_, 0, ctx_.device());
  sin_ = table(rope_memory_, half, ctx_.device());
}

PlacedBatch Decoder::place(const BatchView& batch, int tables) {
  const Tensor positions = to_device(ctx_, activations_, batch.positions);
  return {positions, AttentionSamples(ctx_, activations_, batch.starts, tables)};
}

BlockInput Decoder::input_of(PlacedBatch& batch) const {
  return {.model = spec(),
          .positions = batch.positions,
          .cos = cos_,
          .sin = sin_,
          .samples = batch.samples};
}

void Decoder::embed(Tensor x, const BatchView& batch) {
  embedding(ctx_, x, base_.embedding(), batch.ids);
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
    TESSERA_CHECK(tensor.is_matrix());  // see check_computable()
    const size_t site = size_t(row.site);
    Linear& linear = block.linear[site];
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
