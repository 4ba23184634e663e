// The frozen base model in memory: every layer as one blob in a ShardedStore, and the tensors
// outside the layers (embedding, final norm, head) as one more blob in the checkpoint's own dtype.
// Sharded or not, a node holds the outer blob once. Never written after loading.
#pragma once

#include "lora/model/layout.h"
#include "parallel/sharded_store.h"
#include "quant/frozen_matrix.h"

namespace tessera::lora {

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
  BaseWeights(const ModelSpec& spec, const BaseFormat& format, Device device);
  /// Reserves this rank's memory; load_base() fills it. Collective.
  BaseWeights(Context& ctx, const ModelSpec& spec, const BaseFormat& format, Placement placement);

  const ModelSpec& spec() const { return spec_; }
  const BaseLayout& layout() const { return layout_; }
  parallel::ShardedStore& store() { return store_; }
  const parallel::ShardedStore& store() const { return store_; }

  Tensor embedding() const { return outer_tensor(Role::kEmbedding); }  // [V, C]
  Tensor final_norm() const { return outer_tensor(Role::kNorm); }      // [C]
  /// [V, C] as a matrix in its dtype; the embedding's memory when tied.
  quant::FrozenMatrix head() const;

  parallel::ShardedStore& outer() { return outer_; }

  /// Bytes that this rank holds in all.
  size_t bytes() const { return store_.resident_bytes() + outer_.resident_bytes(); }

 private:
  Tensor outer_tensor(Role role) const;

  Device device_;
  ModelSpec spec_;
  BaseLayout layout_;
  parallel::ShardedStore store_;
  parallel::ShardedStore outer_;  // of one layer
};

}  // namespace tessera::lora
