// The frozen base model in memory: every layer as one blob in a ShardedStore, and the tensors
// outside the layers (embedding, final norm, head) in the checkpoint's own dtype. Never written
// after loading.
#pragma once

#include <array>
#include <memory>

#include "lora/decoder/block.h"
#include "lora/decoder/config.h"
#include "parallel/sharded_store.h"
#include "quant/frozen_matrix.h"

namespace tessera::lora {

/// How the weights are stored: the layers' linears in a quantized format or as the checkpoint has
/// them, all others as the checkpoint has them.
struct BaseFormat {
  quant::Format linear = quant::Format::kNf4;
  int block = 64;
  bool double_quant = true;
  DType norm = DType::kF32;
  DType embedding = DType::kF32;
  DType head = DType::kF32;
};

/// Where each matrix and norm lies in a layer's blob; known from the config alone.
struct BlockLayout {
  BlockLayout(const DecoderConfig& config, const BaseFormat& format);

  std::array<quant::FrozenSpec, kSites> spec;
  std::array<size_t, kSites> offset;  // multiples of 256
  size_t attention_norm;
  size_t mlp_norm;
  size_t bytes;
};

class BaseWeights {
 public:
  /// Reserves the memory; load_base() fills it.
  BaseWeights(const DecoderConfig& config, const BaseFormat& format, parallel::Communicator& group);

  const DecoderConfig& config() const { return config_; }
  const BaseFormat& format() const { return format_; }
  const BlockLayout& layout() const { return layout_; }
  parallel::ShardedStore& store() { return store_; }
  const parallel::ShardedStore& store() const { return store_; }

  Tensor embedding() const;   // [V, C]
  Tensor final_norm() const;  // [C]
  /// [V, C] as a matrix in its dtype; the embedding's memory when tied.
  quant::FrozenMatrix head() const;

  /// The memory behind embedding, final norm and head.
  std::span<const std::byte> outer_bytes() const { return {outer_.data(), outer_.size()}; }
  Tensor head_weight() const;  // [V, C]; for untied heads, where the loader writes

  /// Bytes that this rank holds in all.
  size_t bytes() const { return store_.resident_bytes() + outer_.size(); }

 private:
  DecoderConfig config_;
  BaseFormat format_;
  BlockLayout layout_;
  parallel::ShardedStore store_;
  size_t norm_offset_, head_offset_;  // in outer_
  Buffer outer_;
};

/// The format that stores a 16- or 32-bit float dtype as it is.
quant::Format format_of(DType dtype);

}  // namespace tessera::lora
