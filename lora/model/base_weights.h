// The frozen base model in memory: every layer as one blob in a ShardedStore, and the tensors
// outside the layers (embedding, final norm, head) as one more blob in the checkpoint's own dtype.
// Sharded or not, a node holds the outer blob once. Never written after loading.
#pragma once

#include <array>
#include <memory>

#include "lora/model/config.h"
#include "lora/model/sites.h"
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

  std::array<quant::FrozenSpec, kAllSites.size()> spec;
  std::array<size_t, kAllSites.size()> offset;  // multiples of 256
  size_t attention_norm;
  size_t mlp_norm;
  size_t bytes;
};

/// Where the tensors outside the layers lie in their blob.
struct OuterLayout {
  OuterLayout(const DecoderConfig& config, const BaseFormat& format);

  size_t norm;  // the embedding is at 0
  size_t head;  // 0 where it is tied
  size_t bytes;
};

/// How what lies outside the layers is held where the layers are dealt so: read in place by all
/// ranks of a node; whole on each rank where the layers are, too, and on a GPU.
parallel::Sharding outer_sharding(parallel::Sharding layers, Device device);

/// Who holds the base together.
struct Placement {
  parallel::Communicator& world;
  parallel::Sharding sharding;
};

class BaseWeights {
 public:
  /// Shapes only, for planning.
  BaseWeights(const DecoderConfig& config, const BaseFormat& format, Device device);
  /// Reserves this rank's memory; load_base() fills it. Collective.
  BaseWeights(Context& ctx, const DecoderConfig& config, const BaseFormat& format,
              Placement placement);

  const DecoderConfig& config() const { return config_; }
  const BaseFormat& format() const { return format_; }
  const BlockLayout& layout() const { return layout_; }
  parallel::ShardedStore& store() { return store_; }
  const parallel::ShardedStore& store() const { return store_; }

  Tensor embedding() const;   // [V, C]
  Tensor final_norm() const;  // [C]
  /// [V, C] as a matrix in its dtype; the embedding's memory when tied.
  quant::FrozenMatrix head() const;

  parallel::ShardedStore& outer() { return outer_; }
  const OuterLayout& outer_layout() const { return outer_layout_; }

  /// Bytes that this rank holds in all.
  size_t bytes() const { return store_.resident_bytes() + outer_.resident_bytes(); }

 private:
  Tensor outer_tensor(size_t offset, DType dtype, std::initializer_list<int64_t> shape) const;
  Tensor head_weight() const;  // [V, C]

  Device device_;
  DecoderConfig config_;
  BaseFormat format_;
  BlockLayout layout_;
  OuterLayout outer_layout_;
  parallel::ShardedStore store_;
  parallel::ShardedStore outer_;  // of one layer
};

/// The format that stores a 16- or 32-bit float dtype as it is.
quant::Format format_of(DType dtype);

}  // namespace tessera::lora
